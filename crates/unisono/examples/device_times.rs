//! Where the time of a run goes on a device: `cargo run --release -p unisono --example device_times -- MODEL DEVICE ROWS`.
//!
//! Inputs are zeros but for their shapes; symbolic lengths other than the rows are 1.

use unisono::{Device, Error, Inputs, Model, Tensor};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(device), Some(rows)) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: device_times MODEL DEVICE ROWS");
        std::process::exit(2);
    };
    let rows: usize = rows.parse().unwrap_or(1);
    let device: Device = device.parse()?;
    let model = Model::load(&model)?;
    let mut inputs = Vec::new();
    for port in model.inputs() {
        let lengths = port.shape.iter().flatten().enumerate().map(|(axis, dim)| {
            let is_rows = port.rows_axis == Some(axis);
            if is_rows {
                rows
            } else {
                dim.as_len().unwrap_or(1)
            }
        });
        let shape: Vec<usize> = lengths.collect();
        inputs.push((port.name.clone(), Tensor::zeros(port.dtype, &shape)?));
    }
    let named: Vec<(&str, &Tensor)> = inputs.iter().map(|(n, t)| (&**n, t)).collect();
    let session = model.session(&device)?;
    let profile = session.profile(Inputs::from(&named[..]), 20)?;
    println!("whole {:.1} us", profile.whole.median_ns as f64 / 1e3);
    println!(
        "steps {:.1} us",
        profile.within_steps.median_ns as f64 / 1e3
    );
    for step in &profile.steps {
        println!(
            "{:8.1} us  {}  {}",
            step.times.median_ns as f64 / 1e3,
            step.name,
            step.kernel
        );
    }
    Ok(())
}

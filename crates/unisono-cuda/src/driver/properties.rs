//! What a device says of itself.

use std::ffi::{CStr, c_char, c_int};

use unisono_runtime::Error;

use super::library::{Driver, Version};
use super::sys::{self, device_attribute};

/// The lowest compute capability that can be used: that of the Ampere generation.
pub const LOWEST_CAPABILITY: (u32, u32) = (8, 0);

/// A device, as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Properties {
    /// Its number: the 0 of `cuda:0`.
    pub index: usize,
    /// The hardware's name.
    pub name: String,
    /// Multiprocessors.
    pub processors: u32,
    /// The compute capability, major and minor.
    pub capability: (u32, u32),
    /// The newest CUDA that the driver is for.
    pub driver: Version,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Does it correct errors of its memory?
    pub ecc: bool,
    /// Its identity, which no other device in the world has.
    pub uuid: [u8; 16],
    /// The most dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Bytes of the cache before memory.
    pub l2_bytes: u64,
    /// The highest rate of the multiprocessors' clock, in kHz; 0 where the driver does not say.
    pub clock_khz: u32,
    /// The highest rate of the memory's clock, in kHz; 0 where the driver does not say.
    pub memory_clock_khz: u32,
    /// The width of the way to memory, in bits; 0 where the driver does not say.
    pub memory_bus_bits: u32,
}

impl Properties {
    pub(crate) fn of(driver: &Driver, index: usize) -> Result<Properties, Error> {
        let device = handle(driver, index)?;
        let api = driver.api();
        let attribute = |attribute: c_int| {
            let mut value: c_int = 0;
            // SAFETY: writes one number.
            let status = unsafe { (api.device_attribute)(&mut value, attribute, device) };
            driver.check(
                status,
                format_args!("tell attribute {attribute} of device {index}"),
            )?;
            Ok::<u32, Error>(u32::try_from(value).unwrap_or(0))
        };
        let mut memory_bytes: usize = 0;
        // SAFETY: writes one number.
        let status = unsafe { (api.device_memory)(&mut memory_bytes, device) };
        driver.check(
            status,
            format_args!("tell how much memory device {index} has"),
        )?;
        let mut uuid = [0; 16];
        // SAFETY: writes 16 bytes.
        let status = unsafe { (api.device_uuid)(&mut uuid, device) };
        driver.check(status, format_args!("tell the identity of device {index}"))?;
        Ok(Properties {
            index,
            name: name(driver, device, index)?,
            processors: attribute(device_attribute::PROCESSORS)?,
            capability: (
                attribute(device_attribute::CAPABILITY_MAJOR)?,
                attribute(device_attribute::CAPABILITY_MINOR)?,
            ),
            driver: driver.version(),
            memory_bytes: memory_bytes as u64,
            ecc: attribute(device_attribute::ECC)? != 0,
            uuid,
            shared_bytes: attribute(device_attribute::LARGEST_SHARED_MEMORY)?,
            l2_bytes: attribute(device_attribute::L2_BYTES)?.into(),
            // Only for reports, and newer drivers leave them out.
            clock_khz: attribute(device_attribute::CLOCK_KHZ).unwrap_or(0),
            memory_clock_khz: attribute(device_attribute::MEMORY_CLOCK_KHZ).unwrap_or(0),
            memory_bus_bits: attribute(device_attribute::MEMORY_BUS_BITS).unwrap_or(0),
        })
    }

    /// The instruction set in reports: `sm_90`.
    pub fn architecture(&self) -> String {
        format!("sm_{}{}", self.capability.0, self.capability.1)
    }

    /// The identity as `nvidia-smi -L` writes it: `GPU-1b2c…`.
    pub fn uuid_text(&self) -> String {
        let mut text = String::from("GPU");
        for (i, byte) in self.uuid.iter().enumerate() {
            if matches!(i, 0 | 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}

/// The driver's number of a device.
pub(crate) fn handle(driver: &Driver, index: usize) -> Result<sys::Device, Error> {
    let mut device: sys::Device = 0;
    let ordinal = c_int::try_from(index).unwrap_or(c_int::MAX);
    // SAFETY: writes one number; the driver refuses an index that it does not have.
    let status = unsafe { (driver.api().device)(&mut device, ordinal) };
    driver.check(status, format_args!("open device {index}"))?;
    Ok(device)
}

fn name(driver: &Driver, device: sys::Device, index: usize) -> Result<String, Error> {
    let mut text = [0 as c_char; 256];
    // SAFETY: the driver writes at most so many characters, the last of them a zero; one less, so that there is one in any case.
    let status = unsafe { (driver.api().device_name)(text.as_mut_ptr(), 255, device) };
    driver.check(status, format_args!("tell the name of device {index}"))?;
    // SAFETY: the array ends with a zero.
    let name = unsafe { CStr::from_ptr(text.as_ptr()) };
    Ok(name.to_string_lossy().trim().to_owned())
}

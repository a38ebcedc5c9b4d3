//! Attention in one launch.

use unisono_runtime::Error;
use unisono_tensor::DType;

use super::Lowering;
use crate::kernels::attention::{self as kernels, Buffers};
use crate::launch::{Buffer, Place};

pub(super) fn attention(cx: &mut Lowering<'_>) -> Result<bool, Error> {
    let Some(geometry) = cx.op::<kernels::Attention>().copied() else {
        return Ok(false);
    };
    let has_mask = geometry.mask.is_some();
    if !cx.all_of(DType::F32) || has_mask != cx.input(3).is_some() {
        return Ok(false);
    }
    let (processors, limit) = (cx.processors, cx.site.shared_limit());
    let nowhere = Buffer::at(Place::Status);
    let mut buffers = Buffers {
        q: nowhere,
        k: nowhere,
        v: nowhere,
        mask: None,
        y: nowhere,
    };
    if kernels::launch(&geometry, processors, limit, buffers).is_none() {
        return Ok(false);
    }
    buffers = Buffers {
        q: cx.read(0)?,
        k: cx.read(1)?,
        v: cx.read(2)?,
        mask: if has_mask { Some(cx.read(3)?) } else { None },
        y: cx.write(0)?,
    };
    let launch = kernels::launch(&geometry, processors, limit, buffers);
    Ok(cx.emit(launch))
}

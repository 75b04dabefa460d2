//! One image between its tensor and planes of `f64`.

use densekd_core::{Element, Order, Shape, Tensor};

/// Image `n` as `[C, M]`.
pub(super) fn read(map: Tensor<'_>, shape: Shape, order: Order, n: usize) -> Vec<f64> {
    match map {
        Tensor::F32(x) => planes(x, shape, order, n),
        Tensor::F64(x) => planes(x, shape, order, n),
        Tensor::F16(x) => planes(x, shape, order, n),
        Tensor::Bf16(x) => planes(x, shape, order, n),
    }
}

fn planes<E: Element>(map: &[E], shape: Shape, order: Order, n: usize) -> Vec<f64> {
    let (c, m) = (shape.channels(), shape.positions());
    let image = &map[n * c * m..(n + 1) * c * m];
    match order {
        Order::Nchw => image.iter().map(|x| x.widen()).collect(),
        Order::Nhwc => (0..c).flat_map(|k| image[k..].iter().step_by(c)).map(|x| x.widen()).collect(),
    }
}

/// The same image from `[C, M]` into its part of a tensor.
pub(super) fn write(image: &[f64], shape: Shape, order: Order, out: &mut [f64]) {
    match order {
        Order::Nchw => out.copy_from_slice(image),
        Order::Nhwc => {
            let (c, m) = (shape.channels(), shape.positions());
            for (k, plane) in image.chunks(m).enumerate() {
                out[k..].iter_mut().step_by(c).zip(plane).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

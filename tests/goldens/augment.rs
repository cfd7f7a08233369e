//! Images that a GPU keeps and changes, against those that the host changes, which are torchvision's (`src/data/augment/tests.rs`).

use runner::device::Precision;

use crate::backends::gpu;
use crate::reference::pixel_changes::distances;
use crate::stand_in;

/// Images that are gray or coloured, high or wide, and of one pixel.
const SHAPES: [(usize, usize, usize); 6] =
    [(1, 28, 28), (3, 12, 17), (3, 23, 9), (1, 1, 5), (3, 7, 1), (3, 1, 1)];

#[test]
fn a_gpu_changes_images_to_the_bytes_that_the_host_gives_in_any_order_of_threads() {
    let Some(ops) = gpu(Precision::Tf32) else { return };
    let stand_in = stand_in::here().unwrap();
    for shape in SHAPES {
        for order in ["0", "1", "2", "3"] {
            stand_in.set("SHIM_ORDER", order);
            for distance in distances(&ops, shape).expect("it keeps images") {
                assert!(distance.is_within(), "{distance}, in order {order}");
            }
        }
    }
}

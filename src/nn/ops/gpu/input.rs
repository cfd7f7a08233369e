//! What goes into a network: bytes of images become numbers on the GPU, by a table that the host computed.

use std::rc::Rc;
use std::sync::Arc;

use super::node::{block, count, for_each, size};
use super::{GpuOps, told};
use crate::nn::geometry::Chw;
use crate::nn::gpu::{Arg, Block, Given, Kernel, MOST_STAGED};
use crate::nn::ops::{Dims, OpError, PixelTable, Tensor};

impl GpuOps {
    pub(super) fn sent_pixels(
        &self,
        bytes: &[u8],
        count: usize,
        table: &Arc<PixelTable>,
        maps: Option<Chw>,
    ) -> Result<Tensor, OpError> {
        let len = bytes.len() / count;
        assert_eq!(bytes.len(), count * len, "bytes of so many images");
        if bytes.len() > MOST_STAGED {
            let sent = self.queue.upload(bytes).map_err(told)?;
            return self.normalised((count, len), block(&sent), table, maps);
        }
        self.normalised((count, len), Given::Bytes(bytes), table, maps)
    }

    /// Images of `len` bytes each as numbers.
    fn normalised(
        &self,
        (images, len): (usize, usize),
        pixels: Given,
        table: &Arc<PixelTable>,
        maps: Option<Chw>,
    ) -> Result<Tensor, OpError> {
        assert!(maps.is_none_or(|shape| shape.len() == len), "maps: images of another shape");
        let channels = table.channels();
        let (y, table) = (self.room(images * len)?, self.table(table)?);
        let none = Arg::Address(0).into();
        let shape = [channels, len / channels, usize::from(maps.is_some())].map(size);
        let given = [&[count(images * len)], &shape[..], &[none, pixels, block(&table), block(&y)]];
        self.launch(Kernel::NormaliseImages, for_each(images * len), &given.concat())?;
        let dims = maps.map_or(Dims::Rows(images, len), |shape| Dims::Maps(images, shape));
        Ok(self.wrap(y, dims))
    }

    /// A table in the GPU's memory, where it is sent once.
    fn table(&self, table: &Arc<PixelTable>) -> Result<Rc<Block>, OpError> {
        let mut tables = self.tables.borrow_mut();
        let is_it = |it: &Arc<PixelTable>| Arc::ptr_eq(it, table) || it.is_same(table);
        if let Some((_, block)) = tables.iter().find(|(it, _)| is_it(it)) {
            return Ok(Rc::clone(block));
        }
        let block = Rc::new(self.queue.upload(table.values()).map_err(told)?);
        tables.push((Arc::clone(table), Rc::clone(&block)));
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Precision;
    use crate::nn::gpu::Gpu;
    use crate::stand_in;

    #[test]
    fn bytes_become_the_numbers_of_the_table_as_rows_and_as_maps() {
        if stand_in::here().is_none() {
            return;
        }
        let ops = GpuOps::on(Gpu::open(0).unwrap(), Precision::Tf32).unwrap();
        for channels in [1, 3] {
            let (images, shape) = (3, Chw { channels, height: 5, width: 7 });
            let number = |channel: u8, byte: u8| f32::from(byte) / 3.0 - f32::from(channel);
            let of = |channel| std::array::from_fn(|byte| number(channel, byte as u8));
            let table = (0..3).take(channels).map(of).collect();
            let table = Arc::new(PixelTable::new(table));
            let bytes: Vec<u8> =
                (0..images * shape.len()).map(|at| (at * 37 % 256) as u8).collect();
            let mut expected = Vec::new();
            for image in bytes.chunks(shape.len()) {
                for (channel, at) in (0..3).zip(0..channels) {
                    let of_channel = image.iter().skip(at).step_by(channels);
                    expected.extend(of_channel.map(|byte| number(channel, *byte)));
                }
            }
            for maps in [None, Some(shape)] {
                let found = ops.sent_pixels(&bytes, images, &table, maps).unwrap();
                assert_eq!(found.host(), expected, "{channels}, {maps:?}");
            }
        }
        assert_eq!(ops.tables.borrow().len(), 2);
    }
}

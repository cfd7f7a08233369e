//! What goes into a network: bytes of images become numbers on the GPU, by a table that the host computed, and rows of sets that
//! stay there are taken from them.

use std::rc::Rc;
use std::sync::Arc;

use super::node::{all, block, count, for_each, size};
use super::{GpuOps, told};
use crate::nn::geometry::Chw;
use crate::nn::gpu::{Arg, Block, Given, Kernel, MOST_STAGED, Resident};
use crate::nn::ops::input::KeptImages;
use crate::nn::ops::{Dims, KeptRows, KeptSet, OpError, PixelTable, SetRows, Tensor};

/// Where the bytes of images are.
#[derive(Clone, Copy)]
pub(super) enum Pixels<'a> {
    /// One image after the other.
    Sent(Given<'a>),
    /// In a set that stays, at these places.
    Kept(&'a Arc<Resident>, &'a [i32]),
}

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
            return self.normalised((count, len), Pixels::Sent(block(&sent)), table, maps);
        }
        self.normalised((count, len), Pixels::Sent(Given::Bytes(bytes)), table, maps)
    }

    pub(super) fn kept_set(
        &self,
        name: blake3::Hash,
        rows: &SetRows,
        count: usize,
    ) -> Result<Option<KeptSet>, OpError> {
        if count == 0 {
            return Ok(None);
        }
        let name = *name.as_bytes();
        let (kept, len, images) = match rows {
            SetRows::Pixels { bytes, size, table } => {
                let images = KeptImages { size: *size, table: Arc::clone(table) };
                (self.queue.keep(name, bytes), bytes.len() / count, Some(images))
            }
            SetRows::Values(values) => (self.queue.keep(name, values), values.len() / count, None),
        };
        let kept = kept.map_err(told)?;
        Ok(kept.map(|held| KeptSet { held, count, len, images }))
    }

    pub(super) fn rows_of(
        &self,
        set: &KeptSet,
        KeptRows { places, changes }: &KeptRows,
        maps: Option<Chw>,
    ) -> Result<Tensor, OpError> {
        let KeptSet { held, count, len, images } = set;
        let data = Arc::clone(held).downcast().expect("a set that a GPU keeps");
        assert!(places.iter().all(|place| place < count), "places in the set");
        let place = |at: &usize| i32::try_from(*at).expect("a set is far below 2^31 rows");
        let places: Vec<i32> = places.iter().map(place).collect();
        if let Some(KeptImages { size: (height, width), table }) = images {
            let (rows, kept) = ((places.len(), *len), Pixels::Kept(&data, &places));
            let shape = Chw { channels: table.channels(), height: *height, width: *width };
            return match self.changed_pixels(kept, (places.len(), shape), changes)? {
                Some((changed, shape)) => {
                    let (rows, sent) = ((places.len(), shape.len()), Pixels::Sent(block(&changed)));
                    self.normalised(rows, sent, table, maps)
                }
                None => self.normalised(rows, kept, table, maps),
            };
        }
        assert!(changes.is_empty(), "changes are of images");
        let chosen = places.len();
        let y = self.room(chosen * len)?;
        let (rows, from) = (Given::Places(&places), self.queue.resident(&data).into());
        let given = [size(chosen), size(*len), rows, from, block(&y)];
        self.launch(Kernel::GatherRows, for_each(chosen * len), &given)?;
        let rows = self.wrap(y, Dims::Rows(chosen, *len));
        match maps {
            None => Ok(rows),
            Some(shape) => self.to_maps(&rows, shape),
        }
    }

    /// Images of `len` bytes each as numbers.
    fn normalised(
        &self,
        (images, len): (usize, usize),
        pixels: Pixels,
        table: &Arc<PixelTable>,
        maps: Option<Chw>,
    ) -> Result<Tensor, OpError> {
        assert!(maps.is_none_or(|shape| shape.len() == len), "maps: images of another shape");
        let channels = table.channels();
        let (y, table) = (self.room(images * len)?, self.table(table)?);
        let [places, pixels] = self.found(pixels);
        let shape = [channels, len / channels, usize::from(maps.is_some())].map(size);
        let lists = [places, pixels, block(&table), block(&y)];
        let given = all(&[&[count(images * len)], &shape[..], &lists]);
        self.launch(Kernel::NormaliseImages, for_each(images * len), &given)?;
        let dims = maps.map_or(Dims::Rows(images, len), |shape| Dims::Maps(images, shape));
        Ok(self.wrap(y, dims))
    }

    /// Where images are, as a kernel takes it: their places, and what these are places in.
    pub(super) fn found<'p>(&self, pixels: Pixels<'p>) -> [Given<'p>; 2] {
        match pixels {
            Pixels::Sent(pixels) => [Arg::Address(0).into(), pixels],
            Pixels::Kept(data, places) => [Given::Places(places), self.queue.resident(data).into()],
        }
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
    use super::super::in_its_place;
    use super::*;
    use crate::stand_in;

    /// Ten images of 3 by 5 by 7 bytes, with the numbers of these.
    fn set() -> (Vec<u8>, Arc<PixelTable>) {
        let bytes = (0..10 * 105).map(|at| u8::try_from(at * 37 % 251).unwrap()).collect();
        let of = |channel: u8| {
            std::array::from_fn(|byte| {
                f32::from(u8::try_from(byte).unwrap()) / 3.0 - f32::from(channel)
            })
        };
        (bytes, Arc::new(PixelTable::new((0..3).map(of).collect())))
    }

    const SHAPE: Chw = Chw { channels: 3, height: 5, width: 7 };

    #[test]
    fn images_of_a_set_that_stays_are_those_that_are_sent() {
        let Some(ops) = in_its_place() else { return };
        let (bytes, table) = set();
        let rows = SetRows::Pixels { bytes: &bytes, size: (5, 7), table: Arc::clone(&table) };
        let set = ops.kept_set(blake3::hash(b"set"), &rows, 10).unwrap().unwrap();
        let places = [7, 0, 9, 7];
        let chosen: Vec<u8> =
            places.iter().flat_map(|at| &bytes[at * 105..][..105]).copied().collect();
        for maps in [None, Some(SHAPE)] {
            let sent = ops.sent_pixels(&chosen, 4, &table, maps).unwrap();
            let kept = ops.rows_of(&set, &KeptRows::plain(&places), maps).unwrap();
            assert_eq!((kept.host(), kept.dims()), (sent.host(), sent.dims()));
        }
    }

    #[test]
    fn rows_of_numbers_that_stay_are_those_of_the_set() {
        let Some(ops) = in_its_place() else { return };
        let values: Vec<f32> = (0..10 * 105_u16).map(f32::from).collect();
        let rows = SetRows::Values(&values);
        let set = ops.kept_set(blake3::hash(b"values"), &rows, 10).unwrap().unwrap();
        let expected = [&values[840..945], &values[..105]].concat();
        for maps in [None, Some(SHAPE)] {
            assert_eq!(
                ops.rows_of(&set, &KeptRows::plain(&[8, 0]), maps).unwrap().host(),
                expected
            );
        }
    }

    #[test]
    fn backends_of_a_gpu_have_one_copy_of_a_set_until_the_last_of_them_has_gone() {
        let (Some(first), Some(second)) = (in_its_place(), in_its_place()) else { return };
        let stand_in = stand_in::here().unwrap();
        let (bytes, table) = set();
        let rows = SetRows::Pixels { bytes: &bytes, size: (5, 7), table };
        let keep = |ops: &GpuOps| ops.kept_set(blake3::hash(b"set"), &rows, 10).unwrap().unwrap();
        let sent = |work: &mut dyn FnMut()| {
            let before = stand_in.count("uploaded_bytes");
            work();
            stand_in.count("uploaded_bytes") - before
        };
        let (mut one, mut other) = (None, None);
        assert_eq!(sent(&mut || one = Some(keep(&first))), 1050);
        assert_eq!(sent(&mut || other = Some(keep(&second))), 0);
        let (one, other) = (one.unwrap(), other.unwrap());
        let expected = first.rows_of(&one, &KeptRows::plain(&[3]), None).unwrap().host();
        let seen = second.rows_of(&other, &KeptRows::plain(&[3]), None).unwrap();
        drop((one, other, first));
        // The second one's calls still name it.
        second.queue.finish().unwrap();
        assert_eq!(seen.host(), expected);
        assert_eq!(sent(&mut || drop(keep(&second))), 0);
        drop((seen, second));
        let third = in_its_place().unwrap();
        assert_eq!(sent(&mut || drop(keep(&third))), 1050, "nobody held it");
    }

    #[test]
    fn a_set_without_room_is_no_error() {
        let Some(stand_in) = stand_in::here() else { return };
        stand_in.set("STAND_IN_MEMORY", "4000");
        let ops = in_its_place().unwrap();
        let (bytes, table) = set();
        let keep = |name: &[u8], count: usize| {
            let (bytes, table) = (&bytes[..count * 105], Arc::clone(&table));
            let rows = SetRows::Pixels { bytes, size: (5, 7), table };
            ops.kept_set(blake3::hash(name), &rows, count).unwrap()
        };
        assert!(keep(b"ten", 10).is_none(), "more than a quarter");
        let five = keep(b"five", 5);
        assert!(five.is_some() && keep(b"others", 5).is_none(), "more than a quarter in all");
        drop(five);
        assert!(keep(b"others", 5).is_some(), "there is room again");
        // What others have taken is no error either.
        stand_in.set("STAND_IN_MEMORY", "400");
        assert!(keep(b"five", 5).is_none());
    }

    #[test]
    fn bytes_become_the_numbers_of_the_table_as_rows_and_as_maps() {
        let Some(ops) = in_its_place() else { return };
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

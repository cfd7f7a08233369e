//! Batch normalisation.

use std::rc::Rc;

use smallvec::smallvec;

use super::node::{
    Back, all, along, at, block, blocks, count, for_each, maybe, size, values, width,
};
use super::{GpuOps, told};
use crate::nn::gpu::{Arg, Block, Grid, Kernel};
use crate::nn::ops::{Dims, Norm, OpError, Tensor};

/// Blocks of threads that sum the values of all channels, at most: as many as a large GPU has at once. A few more would take as
/// long again.
const MOST_BLOCKS: usize = 3 * 132;
/// Values of a channel that are not worth a block of their own.
const LEAST_PART: usize = 64;
/// Values of a channel that one block of threads does everything of.
const FEW: usize = 1024;
/// Channels of a block of threads that has one for each lane of a warp.
const CHANNELS: usize = 32;

/// Where the values of a channel lie: `rows` of them, `spatial` in a row after each other.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    rows: usize,
    channels: usize,
    spatial: usize,
    /// Channels that a block of threads sums.
    tile: usize,
}

impl Layout {
    pub(super) fn of(x: &Tensor, channels: usize) -> Self {
        assert!(
            channels > 0 && x.columns().is_multiple_of(channels) && !x.is_empty(),
            "batch_norm: {} features are not {channels} channels",
            x.columns()
        );
        let rows = x.len() / channels;
        match (x.dims, x.columns() / channels) {
            (Dims::Maps(..), _) | (_, 1) => Self::innermost(rows, channels),
            (_, spatial) => Self { rows, channels, spatial, tile: CHANNELS },
        }
    }

    /// Channels beside each other.
    pub(super) fn innermost(rows: usize, channels: usize) -> Self {
        let width = width(channels);
        let lanes = channels.div_ceil(width).next_power_of_two().min(CHANNELS);
        Self { rows, channels, spatial: 1, tile: lanes * width }
    }

    /// The same where a block of threads has a channel for each lane of a warp.
    fn by_lane(self) -> Self {
        Self { tile: CHANNELS, ..self }
    }

    /// Threads of a block that sum different channels, where these are beside each other.
    pub(super) fn lanes(self) -> usize {
        self.tile / width(self.channels)
    }

    pub(super) fn part(self) -> usize {
        let most = (MOST_BLOCKS / self.channels.div_ceil(self.tile)).max(1);
        self.rows.div_ceil(most).max(LEAST_PART)
    }

    fn parts(self) -> usize {
        self.rows.div_ceil(self.part())
    }

    /// Blocks for channels and parts.
    pub(super) fn by_part(self) -> Grid {
        let blocks = [blocks(self.channels, self.tile), blocks(self.parts(), 1), 1];
        Grid { blocks, threads: 256 }
    }

    /// Two sums of each part of each channel.
    pub(super) fn sums(self) -> usize {
        self.parts() * self.channels * 2
    }

    /// Whether a block of threads can do everything of its channels.
    fn is_small(self) -> bool {
        self.rows <= FEW && self.spatial == 1
    }

    fn by_channel(self) -> Grid {
        Grid { blocks: [blocks(self.channels, CHANNELS), 1, 1], threads: 512 }
    }

    fn values(self) -> usize {
        self.rows * self.channels
    }
}

/// Which moments are constants.
struct Constants {
    all: bool,
    some: Option<Rc<Block>>,
}

/// How channels are normalised.
pub(super) struct Normaliser {
    /// As `norm_finish` leaves them (norm.cu).
    pub coefficients: Block,
    constants: Constants,
}

/// What a gradient is made of behind normalisation.
pub(super) struct NormBack {
    pub dweight: Block,
    pub dbias: Block,
    /// As `norm_back_finish` leaves them.
    pub means: Block,
}

impl GpuOps {
    pub(super) fn normalise(
        &self,
        x: &Tensor,
        norm: Norm,
        channels: usize,
    ) -> Result<Tensor, OpError> {
        let Some((weight, bias)) = parameters(&norm) else {
            panic!("batch normalisation without its parameters")
        };
        let layout = Layout::of(x, channels);
        let (len, y) = (layout.values(), self.room(layout.values())?);
        let is_whole = layout.is_small() && !matches!(norm, Norm::Fixed { .. });
        let normaliser = self.normaliser(x, norm, layout, is_whole.then_some(&y))?;
        if !is_whole {
            let given = [
                count(len),
                size(channels),
                size(layout.spatial),
                block(&normaliser.coefficients),
                at(bias),
                at(x),
                block(&y),
            ];
            self.launch(Kernel::NormApply, for_each(len), &given)?;
        }
        let dims = match x.dims {
            Dims::Maps(..) => x.dims,
            Dims::Scalar | Dims::Flat(_) | Dims::Rows(..) => Dims::Rows(x.rows(), x.columns()),
        };
        let (y, input) = (self.wrap(y, dims), values(x));
        Ok(self.record(&[x, weight, bias], y, move |ops, dy, wanted| {
            ops.normalise_back(layout, &normaliser, (&input, &dy), wanted)
        }))
    }

    /// Coefficients from what `norm` says; running averages move where it has some. Small batches are normalised at once, where
    /// there is a `y` for them and moments are the batch's.
    pub(super) fn normaliser(
        &self,
        x: &Tensor,
        norm: Norm,
        layout: Layout,
        y: Option<&Block>,
    ) -> Result<Normaliser, OpError> {
        let channels = layout.channels;
        let coefficients = self.room(4 * channels)?;
        let constants = match norm {
            Norm::None => panic!("batch normalisation without its parameters"),
            Norm::Fixed { weight, bias, mean, var, eps } => {
                let given = [
                    size(channels),
                    Arg::Float(eps).into(),
                    at(mean),
                    at(var),
                    at(weight),
                    at(bias),
                    block(&coefficients),
                ];
                self.launch(Kernel::NormGiven, along(channels, 32), &given)?;
                Constants { all: true, some: None }
            }
            Norm::Batch { weight, bias, eps, running } => {
                let averages = match running {
                    None => None,
                    Some(running) => {
                        Some((self.own(running.mean)?, self.own(running.var)?, running.momentum))
                    }
                };
                let finish = Finish { weight, bias, eps, averages, by_averages: None };
                self.batch_moments(x, layout, &finish, (&coefficients, y))?;
                Constants { all: false, some: None }
            }
            Norm::Mixed { weight, bias, eps, running, by_averages } => {
                let share: Vec<f32> =
                    by_averages.iter().map(|it| f32::from(u8::from(*it))).collect();
                assert_eq!(share.len(), channels, "batch_norm: a choice for each channel");
                let by_averages = Rc::new(self.queue.upload(&share).map_err(told)?);
                let averages =
                    Some((self.own(running.mean)?, self.own(running.var)?, running.momentum));
                let finish =
                    Finish { weight, bias, eps, averages, by_averages: Some(&by_averages) };
                self.batch_moments(x, layout, &finish, (&coefficients, y))?;
                Constants { all: false, some: Some(by_averages) }
            }
        };
        Ok(Normaliser { coefficients, constants })
    }

    /// Moments of a batch, what they do to the averages, and the coefficients that they make.
    fn batch_moments(
        &self,
        x: &Tensor,
        layout: Layout,
        finish: &Finish,
        (coefficients, y): (&Block, Option<&Block>),
    ) -> Result<(), OpError> {
        let Layout { rows, channels, spatial, .. } = layout;
        let (mean, var, momentum) = match &finish.averages {
            Some((mean, var, momentum)) => (Some(&**mean), Some(&**var), *momentum),
            None => (None, None, 0.0),
        };
        let numbers = [Arg::Float(finish.eps).into(), Arg::Float(momentum).into()];
        let parameters = [
            at(finish.weight),
            at(finish.bias),
            maybe(mean),
            maybe(var),
            maybe(finish.by_averages),
            block(coefficients),
        ];
        if let Some(y) = y {
            let shape = [size(channels), size(rows)];
            let given = all(&[&shape[..], &numbers, &[at(x)], &parameters, &[block(y)]]);
            return self.launch(Kernel::NormWhole, layout.by_channel(), &given);
        }
        let sums = self.room(layout.sums())?;
        let given = [
            count(rows),
            size(channels),
            size(spatial),
            size(layout.part()),
            size(layout.lanes()),
            at(x),
            block(&sums),
        ];
        self.launch(Kernel::NormParts, layout.by_part(), &given)?;
        let shape = [size(channels), size(spatial), count(rows), size(layout.parts())];
        let given = all(&[&shape[..], &numbers, &[at(x), block(&sums)], &parameters]);
        self.launch(Kernel::NormFinish, layout.by_channel(), &given)
    }

    fn normalise_back(
        &self,
        layout: Layout,
        normaliser: &Normaliser,
        (x, dy): (&Block, &Block),
        wanted: &[bool],
    ) -> Result<Back, OpError> {
        let Layout { rows, channels, spatial, .. } = layout;
        if layout.is_small() {
            let (dweight, dbias) = (self.room(channels)?, self.room(channels)?);
            let dx = wanted[0].then(|| self.room(layout.values())).transpose()?;
            let constants = &normaliser.constants;
            let given = [
                size(channels),
                size(rows),
                size(usize::from(constants.all)),
                maybe(constants.some.as_deref()),
                block(&normaliser.coefficients),
                block(x),
                block(dy),
                block(&dweight),
                block(&dbias),
                maybe(dx.as_ref()),
            ];
            self.launch(Kernel::NormBackWhole, layout.by_channel(), &given)?;
            return Ok(smallvec![dx.map(Rc::new), Some(Rc::new(dweight)), Some(Rc::new(dbias))]);
        }
        let layout = layout.by_lane();
        let sums = self.room(layout.sums())?;
        let given = [
            count(rows),
            size(channels),
            size(spatial),
            size(layout.part()),
            block(&normaliser.coefficients),
            block(x),
            block(dy),
            block(&sums),
        ];
        self.launch(Kernel::NormBackParts, layout.by_part(), &given)?;
        let back = self.back_finish(layout, rows, normaliser, &sums)?;
        let mut dx = None;
        if wanted[0] {
            let room = self.room(layout.values())?;
            let given = [
                count(layout.values()),
                size(channels),
                size(spatial),
                block(&normaliser.coefficients),
                block(&back.means),
                block(x),
                block(dy),
                block(&room),
            ];
            self.launch(Kernel::NormBackApply, for_each(layout.values()), &given)?;
            dx = Some(Rc::new(room));
        }
        Ok(smallvec![dx, Some(Rc::new(back.dweight)), Some(Rc::new(back.dbias))])
    }

    /// Gradients from the sums over the parts of `layout`; `rows` values of each channel were normalised.
    pub(super) fn back_finish(
        &self,
        layout: Layout,
        rows: usize,
        normaliser: &Normaliser,
        sums: &Block,
    ) -> Result<NormBack, OpError> {
        let (channels, constants) = (layout.channels, &normaliser.constants);
        let (dweight, dbias) = (self.room(channels)?, self.room(channels)?);
        let means = self.room(2 * channels)?;
        let given = [
            size(channels),
            count(rows),
            size(layout.parts()),
            size(usize::from(constants.all)),
            maybe(constants.some.as_deref()),
            block(sums),
            block(&dweight),
            block(&dbias),
            block(&means),
        ];
        self.launch(Kernel::NormBackFinish, layout.by_channel(), &given)?;
        Ok(NormBack { dweight, dbias, means })
    }
}

/// The factors and summands of a normalisation.
pub(super) fn parameters<'a>(norm: &Norm<'a>) -> Option<(&'a Tensor, &'a Tensor)> {
    match norm {
        Norm::None => None,
        Norm::Batch { weight, bias, .. }
        | Norm::Mixed { weight, bias, .. }
        | Norm::Fixed { weight, bias, .. } => Some((*weight, *bias)),
    }
}

/// What a batch's moments become.
struct Finish<'a> {
    weight: &'a Tensor,
    bias: &'a Tensor,
    eps: f32,
    /// Averages that move: means, variances, and the share of this batch.
    averages: Option<(Rc<Block>, Rc<Block>, f32)>,
    by_averages: Option<&'a Block>,
}

//! Batch normalisation.

use std::rc::Rc;

use super::node::{along, at, block, blocks, count, for_each, maybe, size, values};
use super::{GpuOps, told};
use crate::nn::gpu::{Arg, Block, Grid, Kernel};
use crate::nn::ops::{Dims, Norm, OpError, Tensor};

/// Parts that the values of a channel are summed in, at most.
const MOST_PARTS: usize = 1024;
/// Values that are not worth a part of their own.
const LEAST_PART: usize = 64;

/// Where the values of a channel lie: `rows` of them, `spatial` in a row after each other.
#[derive(Clone, Copy)]
struct Layout {
    rows: usize,
    channels: usize,
    spatial: usize,
}

impl Layout {
    fn of(x: &Tensor, channels: usize) -> Self {
        let rows = x.len() / channels;
        match x.dims {
            Dims::Maps(..) => Self { rows, channels, spatial: 1 },
            Dims::Scalar | Dims::Flat(_) | Dims::Rows(..) => {
                Self { rows, channels, spatial: x.columns() / channels }
            }
        }
    }

    fn part(self) -> usize {
        self.rows.div_ceil(MOST_PARTS).max(LEAST_PART)
    }

    fn parts(self) -> usize {
        self.rows.div_ceil(self.part())
    }

    /// A thread for each channel and part.
    fn by_part(self) -> Grid {
        Grid { blocks: [blocks(self.channels, 32), blocks(self.parts(), 1), 1], threads: 32 }
    }

    fn by_channel(self) -> Grid {
        along(self.channels, 32)
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

impl GpuOps {
    pub(super) fn normalise(
        &self,
        x: &Tensor,
        norm: Norm,
        channels: usize,
    ) -> Result<Tensor, OpError> {
        assert!(
            channels > 0 && x.columns().is_multiple_of(channels) && !x.is_empty(),
            "batch_norm: {} features are not {channels} channels",
            x.columns()
        );
        let layout = Layout::of(x, channels);
        let coefficients = self.room(4 * channels)?;
        let (weight, bias, constants) = match norm {
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
                self.launch(Kernel::NormGiven, layout.by_channel(), &given)?;
                (weight, bias, Constants { all: true, some: None })
            }
            Norm::Batch { weight, bias, eps, running } => {
                let averages = match running {
                    None => None,
                    Some(running) => {
                        Some((self.own(running.mean)?, self.own(running.var)?, running.momentum))
                    }
                };
                let finish = Finish { weight, bias, eps, averages, by_averages: None };
                self.batch_moments(x, layout, &finish, &coefficients)?;
                (weight, bias, Constants { all: false, some: None })
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
                self.batch_moments(x, layout, &finish, &coefficients)?;
                (weight, bias, Constants { all: false, some: Some(by_averages) })
            }
        };
        let (len, y) = (layout.values(), self.room(layout.values())?);
        let given = [
            count(len),
            size(channels),
            size(layout.spatial),
            block(&coefficients),
            at(bias),
            at(x),
            block(&y),
        ];
        self.launch(Kernel::NormApply, for_each(len), &given)?;
        let dims = match x.dims {
            Dims::Maps(..) => x.dims,
            Dims::Scalar | Dims::Flat(_) | Dims::Rows(..) => Dims::Rows(x.rows(), x.columns()),
        };
        let (y, input) = (self.wrap(y, dims), values(x));
        Ok(self.record(&[x, weight, bias], y, move |ops, dy, wanted| {
            ops.normalise_back(layout, &constants, (&input, &dy, &coefficients), wanted)
        }))
    }

    /// Moments of a batch, what they do to the averages, and the coefficients that they make.
    fn batch_moments(
        &self,
        x: &Tensor,
        layout: Layout,
        finish: &Finish,
        coefficients: &Block,
    ) -> Result<(), OpError> {
        let Layout { rows, channels, spatial } = layout;
        let sums = self.room(layout.parts() * channels * 2)?;
        let given =
            [count(rows), size(channels), size(spatial), size(layout.part()), at(x), block(&sums)];
        self.launch(Kernel::NormParts, layout.by_part(), &given)?;
        let (mean, var, momentum) = match &finish.averages {
            Some((mean, var, momentum)) => (Some(&**mean), Some(&**var), *momentum),
            None => (None, None, 0.0),
        };
        let given = [
            size(channels),
            size(spatial),
            count(rows),
            size(layout.parts()),
            Arg::Float(finish.eps).into(),
            Arg::Float(momentum).into(),
            at(x),
            block(&sums),
            at(finish.weight),
            at(finish.bias),
            maybe(mean),
            maybe(var),
            maybe(finish.by_averages),
            block(coefficients),
        ];
        self.launch(Kernel::NormFinish, layout.by_channel(), &given)
    }

    fn normalise_back(
        &self,
        layout: Layout,
        constants: &Constants,
        (x, dy, coefficients): (&Block, &Block, &Block),
        wanted: &[bool],
    ) -> Result<Vec<Option<Rc<Block>>>, OpError> {
        let Layout { rows, channels, spatial } = layout;
        let sums = self.room(layout.parts() * channels * 2)?;
        let given = [
            count(rows),
            size(channels),
            size(spatial),
            size(layout.part()),
            block(coefficients),
            block(x),
            block(dy),
            block(&sums),
        ];
        self.launch(Kernel::NormBackParts, layout.by_part(), &given)?;
        let (dweight, dbias) = (self.room(channels)?, self.room(channels)?);
        let means = self.room(2 * channels)?;
        let given = [
            size(channels),
            count(rows),
            size(layout.parts()),
            size(usize::from(constants.all)),
            maybe(constants.some.as_deref()),
            block(&sums),
            block(&dweight),
            block(&dbias),
            block(&means),
        ];
        self.launch(Kernel::NormBackFinish, layout.by_channel(), &given)?;
        let mut dx = None;
        if wanted[0] {
            let room = self.room(layout.values())?;
            let given = [
                count(layout.values()),
                size(channels),
                size(spatial),
                block(coefficients),
                block(&means),
                block(x),
                block(dy),
                block(&room),
            ];
            self.launch(Kernel::NormBackApply, for_each(layout.values()), &given)?;
            dx = Some(Rc::new(room));
        }
        Ok(vec![dx, Some(Rc::new(dweight)), Some(Rc::new(dbias))])
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

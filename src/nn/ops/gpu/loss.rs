//! The loss of a classifier, and how often it is right.

use std::rc::Rc;

use smallvec::smallvec;

use super::node::{at, block, by_row, count, for_each, maybe, size, values};
use super::{GpuOps, told};
use crate::nn::gpu::{Block, Given, Kernel};
use crate::nn::ops::{Dims, OpError, Targets, Tensor, Varying};

impl GpuOps {
    fn classes(&self, labels: Varying<u32>, classes: usize) -> Result<Block, OpError> {
        let source = self.source_of_labels(labels, classes);
        let labels = labels.unseen().iter();
        let labels: Vec<i32> =
            labels.map(|it| i32::try_from(*it).expect("a class is below 2^31")).collect();
        self.queue.upload_from(source, &labels).map_err(told)
    }

    pub(super) fn mean_cross_entropy(
        &self,
        logits: &Tensor,
        targets: &Targets,
    ) -> Result<Tensor, OpError> {
        let classes = targets.check((logits.rows(), logits.columns()));
        let (rows, len) = (logits.rows(), logits.len());
        let labels = Rc::new(self.classes(targets.labels, classes)?);
        let (others, share) = match targets.mixed {
            Some((others, share)) => (Rc::new(self.classes(others.into(), classes)?), share),
            None => (Rc::clone(&labels), 0.0),
        };
        let losses = self.room(rows)?;
        // The gradient but for that of the loss itself.
        let unit = logits.is_recorded().then(|| self.room(len)).transpose()?;
        let given = [
            size(rows),
            size(classes),
            Given::Numbers(&[targets.smoothing, share]),
            block(&labels),
            block(&others),
            at(logits),
            block(&losses),
            maybe(unit.as_ref()),
        ];
        self.launch(Kernel::CrossEntropy, by_row(rows), &given)?;
        #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^24 rows")]
        let loss = self.total(&losses, rows, 1.0 / rows as f32)?;
        let loss = self.wrap(loss, Dims::Scalar);
        Ok(self.record(&[logits], loss, move |ops, dy, _| {
            let Some(unit) = unit else { return Ok(smallvec![None]) };
            let dx = ops.room(len)?;
            let given = [count(len), block(&dy), block(&unit), block(&dx)];
            ops.launch(Kernel::Scale, for_each(len), &given)?;
            Ok(smallvec![Some(Rc::new(dx))])
        }))
    }

    pub(super) fn count_hits(
        &self,
        logits: &Tensor,
        labels: Varying<u32>,
    ) -> Result<Tensor, OpError> {
        let (rows, classes) = (logits.rows(), logits.columns());
        assert_eq!(labels.len(), rows, "hits: a label for each row");
        let labels = self.classes(labels, classes)?;
        let hits = self.room(rows)?;
        let (x, y) = (block(&values(logits)), block(&hits));
        let given = [size(rows), size(classes), block(&labels), x, y];
        self.launch(Kernel::Hits, for_each(rows), &given)?;
        Ok(self.wrap(self.total(&hits, rows, 1.0)?, Dims::Scalar))
    }
}

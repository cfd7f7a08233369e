//! Our numbers against those of PyTorch, torchvision, numpy and scikit-learn, which the scripts in
//! tests/golden computed. One program, because every test program links the whole library.

mod adda;
mod dann;
mod dirt_t;
mod fixmatch;
mod images;
mod mcd;
mod metrics;
mod ops;
mod optimizers;
mod pada;
mod primitives;
mod reference;
mod resnet;
mod self_ensembling;
mod shot;
mod terms;
mod vada;
mod wdgrl;
mod zoo;

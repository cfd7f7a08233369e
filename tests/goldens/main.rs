//! Our numbers against those of PyTorch, torchvision, numpy and scikit-learn, which the scripts in
//! tests/golden computed. One program, because every test program links the whole library.

mod adamatch;
mod adda;
mod augment;
mod backends;
mod can;
mod closed_form;
mod dann;
mod dirt_t;
mod features;
mod fine_tuning;
mod fixmatch;
mod images;
mod mcd;
mod metrics;
mod mic;
mod ops;
mod optimizers;
mod pada;
mod primitives;
mod reference;
mod resnet;
mod self_ensembling;
mod shot;
#[path = "../stand_in/mod.rs"]
mod stand_in;
mod terms;
mod vada;
mod wdgrl;
mod zoo;

// Convolutions whose factors are rounded to bf16 as they enter the tensor cores, with sums in single precision. Maps are as they are
// for the others (conv.cu), filters are pairs of bf16.
#include "conv.cuh"

namespace {

using LargeBf16 = tile::Tiles<tile::Large, tile::Factors::BF16>;
using MediumBf16 = tile::Tiles<tile::Medium, tile::Factors::BF16>;
using SmallBf16 = tile::Tiles<tile::Small, tile::Factors::BF16>;
#ifdef WARPGROUPS
using GroupHugeBf16 = group::Tiles<group::Huge, group::InBf16>;
// Its product of the gradient of the input has no register to spare.
using GroupLargeBf16 = group::Tiles<group::Large, group::InBf16, false>;
using GroupMediumBf16 = group::Tiles<group::Medium, group::InBf16>;
using GroupWideBf16 = group::Tiles<group::Wide, group::InBf16>;
using GroupSmallBf16 = group::Tiles<group::Small, group::InBf16>;
#endif

}  // namespace

// Filters are [K, R, S, C / groups] in the first product, and [C, R, S, K / groups] in that of the gradient of the input.
KERNEL_BOUNDED(conv_forward_large_bf16, LargeBf16::THREADS, 2)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<LargeBf16>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_large_bf16)

KERNEL_BOUNDED(conv_forward_medium_bf16, MediumBf16::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<MediumBf16>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_medium_bf16)

KERNEL_BOUNDED(conv_forward_small_bf16, SmallBf16::THREADS, 4)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<SmallBf16>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_small_bf16)

KERNEL_BOUNDED(conv_input_gradient_large_bf16, LargeBf16::THREADS, 2)(SHAPE, const float *dy, const float *filters, const float *more, float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<LargeBf16>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_large_bf16)

KERNEL_BOUNDED(conv_input_gradient_medium_bf16, MediumBf16::THREADS, 3)(SHAPE, const float *dy, const float *filters, const float *more, float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<MediumBf16>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_medium_bf16)

KERNEL_BOUNDED(conv_input_gradient_small_bf16, SmallBf16::THREADS, 4)(SHAPE, const float *dy, const float *filters, const float *more, float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<SmallBf16>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_small_bf16)

KERNEL_BOUNDED(conv_filter_gradient_large_bf16, LargeBf16::THREADS, 2)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<LargeBf16>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_large_bf16)

KERNEL_BOUNDED(conv_filter_gradient_medium_bf16, MediumBf16::THREADS, 4)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<MediumBf16>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_medium_bf16)

KERNEL_BOUNDED(conv_filter_gradient_small_bf16, SmallBf16::THREADS, 5)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<SmallBf16>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_small_bf16)

// For the tensor cores of compute capability 9.0.
#ifdef WARPGROUPS
KERNEL_BOUNDED(conv_forward_group_large_bf16, GroupLargeBf16::THREADS, 2)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupLargeBf16>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_large_bf16)

KERNEL_BOUNDED(conv_forward_group_medium_bf16, GroupMediumBf16::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupMediumBf16>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_medium_bf16)

KERNEL_BOUNDED(conv_forward_group_wide_bf16, GroupWideBf16::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupWideBf16>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_wide_bf16)

KERNEL_BOUNDED(conv_forward_group_small_bf16, GroupSmallBf16::THREADS, 4)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupSmallBf16>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_small_bf16)

KERNEL_BOUNDED(conv_forward_group_few_bf16, GroupMediumBf16::THREADS, 3)(SHAPE, const float *x, const float *filters, const float *bias, float *y) {
  DYNAMIC_SHARED(float, shared);
  forward<GroupMediumBf16, true>(shared, GIVEN, x, filters, bias, y);
}
REGISTER(conv_forward_group_few_bf16)

KERNEL_BOUNDED(conv_input_gradient_group_large_bf16, GroupLargeBf16::THREADS, 2)(SHAPE, const float *dy, const float *filters, const float *more, float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<GroupLargeBf16>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_group_large_bf16)

KERNEL_BOUNDED(conv_input_gradient_group_medium_bf16, GroupMediumBf16::THREADS, 3)(SHAPE, const float *dy, const float *filters, const float *more, float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<GroupMediumBf16>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_group_medium_bf16)

KERNEL_BOUNDED(conv_input_gradient_group_wide_bf16, GroupWideBf16::THREADS, 3)(SHAPE, const float *dy, const float *filters, const float *more, float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<GroupWideBf16>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_group_wide_bf16)

KERNEL_BOUNDED(conv_input_gradient_group_small_bf16, GroupSmallBf16::THREADS, 4)(SHAPE, const float *dy, const float *filters, const float *more, float *dx) {
  DYNAMIC_SHARED(float, shared);
  input_gradient<GroupSmallBf16>(shared, GIVEN, dy, filters, more, dx);
}
REGISTER(conv_input_gradient_group_small_bf16)

KERNEL_BOUNDED(conv_filter_gradient_group_huge_bf16, GroupHugeBf16::THREADS, 1)(SHAPE, int own, int part, const float *x, const float *dy, float *parts) {
  DYNAMIC_SHARED(float, shared);
  filter_gradient<GroupHugeBf16>(shared, GIVEN, own, part, x, dy, parts);
}
REGISTER(conv_filter_gradient_group_huge_bf16)
#endif

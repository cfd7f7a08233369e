// Convolutions of maps [N, H, W, C], as products of matrices whose left side is gathered from the maps. blockIdx.z is the group.
#pragma once
#include "divisor.cuh"
#include "elements.cuh"
#include "group.cuh"

namespace {

struct Shape {
  int n, h, w, c, p, q, k, r, s, down, right, above, before, groups, by_place;
  // What is divided by the images, the pixels of an output, its columns, the channels and filters of a group, and a filter's columns.
  Divisor images, area, columns, of_channels, of_filters, of_taps;
  __device__ int channels() const { return c / groups; }
  __device__ int filters() const { return k / groups; }
  __device__ int taps() const { return r * s; }
};

// A place in a map that taps are counted from: where it lies in memory, which may be before the map's first value, and its row
// and column, of 16 bits each.
struct Corner {
  int at, place;
  __device__ static Corner of(int at, int row, int column) { return {at, row * 65536 | (column & 0xffff)}; }
  __device__ int row() const { return place >> 16; }
  __device__ int column() const { return (short)place; }
  // The one that another lane passes.
  __device__ Corner of_lane(int lane) const { return {shuffle(at, lane), shuffle(place, lane)}; }
  // One that is outside of every map, whatever the tap.
  __device__ static Corner nowhere() { return of(0, -0x4000, 0); }
};

// A tap of a filter with a channel: how far it is from the corner, in the map and in memory.
struct Tap {
  int row, column, at;
};

// Where maps [height, width, depth] hold what is at a tap from a corner.
__device__ inline tile::Place under(int height, int width, const Corner &corner, const Tap &tap) {
  const int row = corner.row() + tap.row, column = corner.column() + tap.column;
  const bool inside = (unsigned)row < (unsigned)height && (unsigned)column < (unsigned)width;
  return {corner.at + tap.at, inside};
}

// Where the corners of a tile's rows are.
struct Reach {
  int top, bottom, left, right;
  // Whether there may be one that has maps [height, width] at a tap.
  __device__ bool meets(int height, int width, const Tap &tap) const {
    return bottom + tap.row >= 0 && top + tap.row < height && right + tap.column >= 0 && left + tap.column < width;
  }
  __device__ static Reach anywhere() { return {-0x8000, 0x8000, -0x8000, 0x8000}; }
};

// The order in which the pixels of maps are numbered: image by image, or, where `by_place`, the same pixel of all images before the
// next one. Tiles then have few places, and whatever taps find nothing but padding there are left out.
struct Numbering {
  int images, area, by_place;
  Divisor inner;
  __device__ Numbering(const Shape &g, int area, const Divisor &of_area)
      : images(g.n), area(area), by_place(g.by_place), inner(by_place ? g.images : of_area) {}
  __device__ int count() const { return images * area; }
  // The image of a pixel, and where in it.
  __device__ int image(int number, int &at) const {
    int rest;
    const int quotient = inner.of(number, rest);
    at = by_place ? quotient : rest;
    return by_place ? rest : quotient;
  }
};

// All operands come four values at once: channels and filters of a group are padded to multiples of four.
struct Wide {
  static constexpr int WIDTH = 4;
  static constexpr bool IS_CACHED = false, CAN_SKIP = false, IS_PAIRS = false;
};

// The pixels under the filters: where an output pixel's first tap is, and where each tap is from there.
struct Input : Wide {
  static constexpr bool IS_ROUNDED = false;
  Shape g;
  const float *values;
  __device__ Input(const Shape &g, const float *x) : g(g), values(x) {}

  __device__ Corner corner(int pixel) const {
    int at;
    const int image = g.area.of(pixel, at);
    return corner(image, at);
  }
  __device__ Corner corner(int image, int at) const {
    int column;
    const int row = g.columns.of(at, column) * g.down - g.above;
    column = column * g.right - g.before;
    return Corner::of(((image * g.h + row) * g.w + column) * g.c, row, column);
  }
  __device__ Tap tap(int place) const {
    int channel, column;
    const int row = g.of_taps.of(g.of_channels.of(place, channel), column);
    return {row, column, (row * g.w + column) * g.c + (int)blockIdx.z * g.channels() + channel};
  }
  __device__ tile::Place at(const Corner &corner, const Tap &tap) const { return under(g.h, g.w, corner, tap); }
};

// A row for each output pixel, along taps and channels. What is at a tap is at another one of the next pixel, which the nearest cache
// serves while there are FEW channels between.
template <bool FEW>
struct Patches : Input {
  static constexpr bool ALONG_DEPTH = true, IS_CACHED = FEW, CAN_SKIP = !FEW;
  using Row = Corner;
  using Depth = Tap;
  Numbering numbering;
  __device__ Patches(const Shape &g, const float *x) : Input(g, x), numbering(g, g.p * g.q, g.area) {}
  __device__ Row row(int number) const {
    if (number >= numbering.count()) return Corner::nowhere();
    int at;
    const int image = numbering.image(number, at);
    return corner(image, at);
  }
  __device__ Depth depth(int place) const { return tap(place); }
  __device__ Reach reach(int first, int last) const {
    if (!g.by_place) return Reach::anywhere();
    const int end = numbering.count() - 1;
    const Corner from = row(first), to = row(last < end ? last : end);
    if (from.row() == to.row()) return {from.row(), to.row(), from.column(), to.column()};
    return {from.row(), to.row(), -g.before, (g.q - 1) * g.right - g.before};
  }
  __device__ bool meets(const Reach &reach, int from, int last) const {
    return g.channels() <= last - from || reach.meets(g.h, g.w, tap(from)) || reach.meets(g.h, g.w, tap(last));
  }
  // Where an output pixel lies.
  __device__ int pixel(int number) const {
    int at;
    const int image = numbering.image(number, at);
    return image * numbering.area + at;
  }
};

// The same the other way round: a row for each tap and channel.
struct PatchColumns : Input {
  static constexpr bool ALONG_DEPTH = false, IS_CACHED = true;
  using Row = Tap;
  using Depth = Corner;
  using Input::Input;
  __device__ Row row(int place) const { return place < g.taps() * g.channels() ? tap(place) : Tap{-(1 << 30), 0, 0}; }
  __device__ Depth depth(int pixel) const { return corner(pixel); }
  __device__ tile::Place at(const Tap &tap, const Corner &corner) const { return Input::at(corner, tap); }
};

// A row of `depths` values for each filter, or for each channel, rounded to TF32 where that is what they are used in, or pairs of
// bf16. Each group has `rows` of them.
template <bool PAIRS>
struct Filters : Wide {
  static constexpr bool ALONG_DEPTH = true, IS_ROUNDED = true, IS_PAIRS = PAIRS;
  using Row = int;
  using Depth = int;
  const float *values;
  int rows, depths;
  __device__ Filters(const float *w, int rows, int depths) : values(w), rows(rows), depths(depths) {}
  __device__ Row row(int row) const { return row < rows ? (int)(blockIdx.z * rows + row) * depths : -(1 << 30); }
  __device__ Depth depth(int depth) const { return depth; }
  __device__ tile::Place at(Row row, Depth depth) const { return {row + depth, row >= 0}; }
};

// The gradients of the output pixels that an input pixel went into, along taps and filters. A filter that moves by several pixels
// at a time meets an input pixel with some of its taps only, the same for all pixels that are as far from a multiple of that: a
// phase. `number` says which.
struct Phase {
  int row, column;        // of its first pixel
  int first_tap, beside;  // the first taps that meet it, down and right
  int rows, columns;      // how many pixels of an image are of it
  int down, right;        // how many taps meet it

  __device__ Phase(const Shape &g, int number) {
    row = number / g.right, column = number % g.right;
    first_tap = (row + g.above) % g.down, beside = (column + g.before) % g.right;
    rows = (g.h - row + g.down - 1) / g.down, columns = (g.w - column + g.right - 1) / g.right;
    down = (g.r - first_tap + g.down - 1) / g.down, right = (g.s - beside + g.right - 1) / g.right;
  }
};

// Its pixels, and its places: taps and filters.
struct PhasePlaces : Wide {
  Shape g;
  Phase phase;
  const float *values;
  int group;
  Divisor columns, taps;
  Numbering numbering;
  __device__ PhasePlaces(const Shape &g, const Phase &phase, const float *values, int group)
      : g(g), phase(phase), values(values), group(group), columns(phase.columns), taps(phase.right),
        numbering(g, phase.rows * phase.columns, Divisor(phase.rows * phase.columns)) {}
  __device__ int pixels() const { return numbering.count(); }
  __device__ int places() const { return phase.down * phase.right * g.filters(); }
  // The tap of a place among those of the phase, and the filter.
  __device__ int tap(int place, int &column, int &filter) const { return taps.of(g.of_filters.of(place, filter), column); }
  // Where a pixel is.
  __device__ int pixel(int number, int &row, int &column) const {
    int at;
    const int image = numbering.image(number, at);
    row = phase.row + columns.of(at, column) * g.down;
    column = phase.column + column * g.right;
    return image;
  }
};

struct Spread : PhasePlaces {
  static constexpr bool ALONG_DEPTH = true, IS_ROUNDED = false, CAN_SKIP = true;
  using Row = Corner;
  using Depth = Tap;
  using PhasePlaces::PhasePlaces;

  // The output pixel that the first tap takes from.
  __device__ Row row(int number) const {
    if (number >= pixels()) return Corner::nowhere();
    int row, column;
    const int image = pixel(number, row, column);
    row = (row + g.above - phase.first_tap) / g.down, column = first_column(column);
    return Corner::of(((image * g.p + row) * g.q + column) * g.k + group * g.filters(), row, column);
  }
  __device__ int first_column(int column) const { return (column + g.before - phase.beside) / g.right; }
  __device__ Depth depth(int place) const {
    int filter, column;
    const int row = tap(place, column, filter);
    return {-row, -column, filter - (row * g.q + column) * g.k};
  }
  __device__ tile::Place at(const Row &pixel, const Depth &tap) const { return under(g.p, g.q, pixel, tap); }
  __device__ Reach reach(int first, int last) const {
    if (!g.by_place) return Reach::anywhere();
    const int end = pixels() - 1;
    const Corner from = row(first), to = row(last < end ? last : end);
    if (from.row() == to.row()) return {from.row(), to.row(), from.column(), to.column()};
    return {from.row(), to.row(), first_column(phase.column), first_column(phase.column + (phase.columns - 1) * g.right)};
  }
  __device__ bool meets(const Reach &reach, int from, int last) const {
    return g.filters() <= last - from || reach.meets(g.p, g.q, depth(from)) || reach.meets(g.p, g.q, depth(last));
  }
};

// The filters by channel, along the same places.
template <bool PAIRS>
struct FilterColumns : PhasePlaces {
  static constexpr bool ALONG_DEPTH = true, IS_ROUNDED = true, IS_PAIRS = PAIRS;
  using Row = int;
  using Depth = int;
  __device__ FilterColumns(const PhasePlaces &same, const float *w) : PhasePlaces(same) { values = w; }
  __device__ Row row(int channel) const {
    return channel < g.channels() ? (group * g.channels() + channel) * g.taps() * g.filters() : -(1 << 30);
  }
  __device__ Depth depth(int place) const {
    int filter, column;
    const int row = phase.first_tap + tap(place, column, filter) * g.down;
    return (row * g.s + phase.beside + column * g.right) * g.filters() + filter;
  }
  __device__ tile::Place at(Row row, Depth depth) const { return {row + depth, row >= 0}; }
};

// The gradient of the output, a row for each filter.
struct OutputColumns : Wide {
  static constexpr bool ALONG_DEPTH = false, IS_ROUNDED = false;
  using Row = int;
  using Depth = int;
  Shape g;
  const float *values;
  __device__ OutputColumns(const Shape &g, const float *dy) : g(g), values(dy) {}
  __device__ Row row(int filter) const { return filter < g.filters() ? (int)blockIdx.z * g.filters() + filter : -1; }
  __device__ Depth depth(int pixel) const { return pixel * g.k; }
  __device__ tile::Place at(Row filter, Depth from) const { return {from + filter, filter >= 0}; }
};

// Each product says where a row of it goes, or that it is none by a negative number.
template <class Tiles, bool FEW = false>
__device__ inline void forward(float *shared, const Shape &g, const float *x, const float *w, const float *bias, float *y) {
  const int filters = g.filters(), places = g.taps() * g.channels(), own = blockIdx.z * filters;
  const Patches<FEW> patches(g, x);
  Tiles::product(
      shared, patches, Filters<Tiles::TAKES_PAIRS>(w, filters, places), tile::corner<Tiles>(filters, blockIdx.x), 0, places,
      [&](int number) { return number < patches.numbering.count() ? patches.pixel(number) * g.k + own : -1; },
      [&](int, int filter) { return tile::two_of(bias ? bias + own : nullptr, filter, filters); },
      [&](int at, int filter, const Values<2> &both) {
        if (at >= 0) tile::put_two(y + at, filter, filters, both);
      });
}

// blockIdx.z is the group times the phases, plus the phase. `more` is added, which may be dx itself; there may be none.
template <class Tiles>
__device__ inline void input_gradient(float *shared, const Shape &g, const float *dy, const float *w, const float *more,
                                      float *dx) {
  const int phases = g.down * g.right, group = blockIdx.z / phases;
  const Phase phase(g, blockIdx.z % phases);
  const Spread spread(g, phase, dy, group);
  const int channels = g.channels();
  const tile::Corner corner = tile::corner<Tiles>(channels, blockIdx.x);
  if (corner.row >= spread.pixels()) return;
  Tiles::product(
      shared, spread, FilterColumns<Tiles::TAKES_PAIRS>(spread, w), corner, 0, spread.places(),
      [&](int number) {
        if (number >= spread.pixels()) return -1;
        int row, column;
        const int image = spread.pixel(number, row, column);
        return ((image * g.h + row) * g.w + column) * g.c + group * channels;
      },
      [&](int at, int channel) { return tile::two_of(more && at >= 0 ? more + at : nullptr, channel, channels); },
      [&](int at, int channel, const Values<2> &both) {
        if (at >= 0) tile::put_two(dx + at, channel, channels, both);
      });
}

// Pixels are cut into parts of `part` each, which are added up afterwards: gridDim.x is the parts times the tiles. Each group has
// `filters` of its own, and others that are padding.
template <class Tiles>
__device__ inline void filter_gradient(float *shared, const Shape &g, int filters, int part, const float *x, const float *dy,
                                       float *parts) {
  const int pixels = g.n * g.p * g.q, places = g.taps() * g.channels();
  const int tiles = tile::count<Tiles>(places, filters), number = blockIdx.x / tiles;
  const int begin = number * part, end = begin + part < pixels ? begin + part : pixels;
  float *own = parts + (number * g.groups + (int)blockIdx.z) * filters * places;
  Tiles::product(
      shared, PatchColumns(g, x), OutputColumns(g, dy), tile::corner<Tiles>(filters, blockIdx.x % tiles), begin, end,
      [&](int place) { return place < places ? place : -1; },
      [](int, int) { return Values<2>{}; },
      [&](int place, int filter, const Values<2> &both) {
        UNROLL for (int k = 0; k < 2; k++)
          if (place >= 0 && filter + k < filters) own[(filter + k) * places + place] = both.v[k];
      });
}

}  // namespace

#define SHAPE int n, int h, int w, int c, int p, int q, int k, int r, int s, int down, int right, int above, int before, int groups, int by_place, int images_factor, int images_shift, int area_factor, int area_shift, int columns_factor, int columns_shift, int channels_factor, int channels_shift, int filters_factor, int filters_shift, int taps_factor, int taps_shift
#define GIVEN                                                                                                                        \
  Shape{n, h, w, c, p, q, k, r, s, down, right, above, before, groups, by_place, Divisor(n, images_factor, images_shift),          \
        Divisor(p * q, area_factor, area_shift), Divisor(q, columns_factor, columns_shift),                                        \
        Divisor(c / groups, channels_factor, channels_shift), Divisor(k / groups, filters_factor, filters_shift),                  \
        Divisor(s, taps_factor, taps_shift)}

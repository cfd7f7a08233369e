// Products of matrices on the tensor cores of compute capability 9.0: a warpgroup has 64 rows of a tile, with the left operand in
// registers and the right one in shared memory.
#pragma once
#include "tile.cuh"

#ifdef WARPGROUPS
namespace group {

// Depths of a stage, and stages that are in shared memory at once.
constexpr int DEPTH = 32, AT_ONCE = 3;

// The sizes of a tile: rows, 64 for each warpgroup, and columns.
template <int R, int C>
struct Size {
  static constexpr int ROWS = R, COLUMNS = C, N = C / 8, THREADS = 2 * R;
};
using Huge = Size<256, 128>;
using Large = Size<128, 128>;
using Medium = Size<128, 64>;
using Wide = Size<64, 128>;
using Small = Size<64, 64>;

// A stage of an operand in shared memory. What is to lie along the depth lies in rows of WORDS words of 32 bits, in which words
// lie beside each other by fours, in another order in each row: `place` says where a depth of a row is. A left operand that lies along
// the rows has a line for each depth, which is LONGER so that neighbours are in other banks.

// Floats: the four from 4 (i ^ row % 8) on in the place of those from 4 i on, as tensor cores and `load_fragment` want it.
struct Floats {
  static constexpr int WORDS = DEPTH, LONGER = 8;
  __device__ static int place(int row, int depth) { return row * DEPTH + ((depth / 4 ^ row % 8) * 4 | depth % 4); }
};

// Floats that a thread takes by twos, so that four rows of eight neighbouring depths are in all banks.
struct FloatsByTwos {
  static constexpr int WORDS = DEPTH, LONGER = 4;
  __device__ static int place(int row, int depth) { return row * DEPTH + ((depth / 4 ^ row % 4 * 2) * 4 | depth % 4); }
};

// Pairs of bf16, as tensor cores want them.
struct Pairs {
  static constexpr int WORDS = DEPTH / 2, LONGER = 0;
  __device__ static int place(int row, int depth) { return row * WORDS + ((depth / 8 ^ row / 2 % 4) * 4 | depth % 8 / 2); }
};

// How the operands of a product lie, and how a right one is rounded that is turned.
struct InTf32 {
  static constexpr bool IN_PAIRS = false;
  using Left = Floats;
  using Right = Floats;
  // Four depths of a row, rounded.
  __device__ static void put(float *stage, int row, int depth, const float (&values)[4]) {
    Values<4> turned;
    UNROLL for (int k = 0; k < 4; k++) turned.v[k] = as_float(tf32(values[k]));
    store<4>(stage + Right::place(row, depth), turned);
  }
};
struct InBf16 {
  static constexpr bool IN_PAIRS = true;
  using Left = FloatsByTwos;
  using Right = Pairs;
  __device__ static void put(float *stage, int row, int depth, const float (&values)[4]) {
    const Values<2> turned = {as_float(bf16_pair(values[0], values[1])), as_float(bf16_pair(values[2], values[3]))};
    store<2>(stage + Right::place(row, depth), turned);
  }
};

// What a thread copies of an operand into each stage, just as it lies in memory.
template <class Layout, class Operand, int COUNT, int THREADS>
struct Copies {
  static constexpr bool ALONG = Operand::ALONG_DEPTH;
  // Numbers of 32 bits, and the words of a stage.
  static constexpr int SHARE = Operand::IS_PAIRS ? 2 : 1, LINE = COUNT + (ALONG ? 0 : Layout::LONGER);
  static constexpr int FLOATS = ALONG ? COUNT * Layout::WORDS : DEPTH * LINE;
  static_assert(Layout::WORDS == DEPTH / SHARE, "a row of numbers");
  static constexpr int BESIDE = (ALONG ? DEPTH : COUNT) / 4, COPIES = COUNT * DEPTH / 4 / THREADS;
  typename Operand::Row rows[ALONG ? COPIES : 1];

  __device__ static int along() { return threadIdx.x % BESIDE * 4; }
  __device__ static int across(int i) { return threadIdx.x / BESIDE + i * (THREADS / BESIDE); }

  __device__ Copies(const Operand &operand, int row0) {
    UNROLL for (int i = 0; i < (ALONG ? COPIES : 1); i++) rows[i] = operand.row(row0 + (ALONG ? across(i) : along()));
  }

  // Starts the copies of the depths from `from` on; zeros from `end` on.
  __device__ void start(float *stage, const Operand &operand, int from, int end) const {
    if constexpr (ALONG) {
      const bool there = from + along() < end;
      const typename Operand::Depth depth = operand.depth(from + along());
      UNROLL for (int i = 0; i < COPIES; i++)
        start_at(stage + Layout::place(across(i), along()), operand, operand.at(rows[i], depth), there);
    } else {
      // Each lane of a warp works out one of the depths.
      const typename Operand::Depth own = operand.depth(from + lane());
      UNROLL for (int i = 0; i < COPIES; i++) {
        start_at(stage + across(i) * LINE + along(), operand, operand.at(rows[0], own.of_lane(across(i))), from + across(i) < end);
      }
    }
  }
  __device__ static void start_at(float *to, const Operand &operand, tile::Place from, bool there) {
    copy<4 / SHARE, Operand::IS_CACHED>(to, operand.values + (from.at >> (SHARE - 1)), there && from.is_there);
  }
  __device__ void finish(float *) const {}
};

// The same for a right operand that lies along the rows: it is turned, and rounded, on the way, through registers. A thread has
// four depths of WIDTH rows.
template <class Form, class Operand, int COUNT, int THREADS>
struct Turns {
  static constexpr int FLOATS = COUNT * Form::Right::WORDS, EACH = COUNT * DEPTH / 4 / THREADS, WIDTH = EACH < 4 ? EACH : 4, TURNS = EACH / WIDTH;
  typename Operand::Row rows[TURNS];
  Values<WIDTH> values[TURNS][4];

  // Eight neighbours have all depths of a row, which are in all banks.
  __device__ static int depth() { return threadIdx.x % 8 * 4; }
  __device__ static int row(int i) { return (threadIdx.x / 8 + i * (THREADS / 8)) * WIDTH; }

  __device__ Turns(const Operand &operand, int row0) {
    UNROLL for (int i = 0; i < TURNS; i++) rows[i] = operand.row(row0 + row(i));
  }

  // Loads the depths from `from` on; zeros from `end` on.
  __device__ void start(float *, const Operand &operand, int from, int end) {
    UNROLL for (int k = 0; k < 4; k++) {
      const bool there = from + depth() + k < end;
      const typename Operand::Depth depth_of = operand.depth(from + depth() + k);
      UNROLL for (int i = 0; i < TURNS; i++) {
        const tile::Place at = operand.at(rows[i], depth_of);
        if (there && at.is_there) values[i][k] = load<WIDTH>(operand.values + at.at);
        else values[i][k] = {};
      }
    }
  }
  // Puts them into a stage.
  __device__ void finish(float *stage) const {
    UNROLL for (int i = 0; i < TURNS; i++)
      UNROLL for (int j = 0; j < WIDTH; j++) {
        const float turned[4] = {values[i][0].v[j], values[i][1].v[j], values[i][2].v[j], values[i][3].v[j]};
        Form::put(stage, row(i) + j, depth(), turned);
      }
  }
};

template <bool TURN, class Form, class Operand, int COUNT, int THREADS>
struct Rights : Copies<typename Form::Right, Operand, COUNT, THREADS> {
  using Copies<typename Form::Right, Operand, COUNT, THREADS>::Copies;
};
template <class Form, class Operand, int COUNT, int THREADS>
struct Rights<true, Form, Operand, COUNT, THREADS> : Turns<Form, Operand, COUNT, THREADS> {
  using Turns<Form, Operand, COUNT, THREADS>::Turns;
};

// Where the depths of a tile's stages begin, one stage after the other, and `end` after the last.
template <class A, int ROWS, bool CAN_SKIP = A::CAN_SKIP>
struct Stages {
  int next, end;
  __device__ Stages(const A &, int, int begin, int end) : next(begin), end(end) {}
  __device__ int take() {
    const int taken = next < end ? next : end;
    next += DEPTH;
    return taken;
  }
};

// Only those in which the left operand may have values. Each lane of a warp looks at one of 32 stages.
template <class A, int ROWS>
struct Stages<A, ROWS, true> {
  const A &a;
  decltype(a.reach(0, 0)) reach;
  int base, end;
  unsigned left;
  __device__ Stages(const A &a, int row0, int begin, int end) : a(a), reach(a.reach(row0, row0 + ROWS - 1)), base(begin), end(end) { look(); }
  __device__ void look() {
    const int from = base + lane() * DEPTH, last = (from + DEPTH < end ? from + DEPTH : end) - 1;
    left = lanes_with(from < end && a.meets(reach, from, last));
  }
  __device__ int take() {
    while (!left && base + 32 * DEPTH < end) {
      base += 32 * DEPTH;
      look();
    }
    if (!left) return end;
    const int first = first_bit(left);
    left &= left - 1;
    return base + first * DEPTH;
  }
};

// As `tile::product`, in TF32 or bf16, as the Form says. `shared` begins at a multiple of 1024 bytes and has room for AT_ONCE stages of both
// operands. A right operand along the depth is rounded. Operands come four values at once. Where it OVERLAPS, copies are begun while tensor cores multiply, for
// which a thread needs a few registers more.
template <class Size, class Form, bool OVERLAPS, class A, class B, class At, class More, class Put>
__device__ inline void product(float *shared, const A &a, const B &b, tile::Corner corner, int begin, int end, const At &at,
                               const More &more, const Put &put) {
  constexpr int ROWS = Size::ROWS, COLUMNS = Size::COLUMNS, N = Size::N, THREADS = Size::THREADS;
  constexpr bool TURN = !B::ALONG_DEPTH;
  static_assert(A::WIDTH == 4 && B::WIDTH == 4 && (TURN || B::IS_ROUNDED), "what the copies are made for");
  static_assert(!(TURN && A::CAN_SKIP), "what is turned comes stage after stage");
  using Left = Copies<typename Form::Left, A, ROWS, THREADS>;
  using Right = Rights<TURN, Form, B, COLUMNS, THREADS>;
  constexpr bool IN_PAIRS = Form::IN_PAIRS;
  // Stages that are started before the first is multiplied. What goes through registers does so for one stage at a time.
  constexpr int AHEAD = AT_ONCE - 1;
  const int in = threadIdx.x & 3, warp_row = (threadIdx.x >> 5) * 16, own_row = warp_row + tile::group_of_lane();
  const Left left(a, corner.row);
  Right right(b, corner.column);
  float *of_right = shared, *of_left = shared + AT_ONCE * Right::FLOATS;
  float sums[N][4] = {};
  Stages<A, ROWS> stages(a, corner.row, begin, end);
  // How many stages were started, and are multiplied.
  int started = 0;
  UNROLL for (int i = 0; i < AHEAD; i++) {
    const int from = stages.take();
    if (from < end) {
      left.start(of_left + i * Left::FLOATS, a, from, end);
      if (!TURN) right.start(of_right + i * Right::FLOATS, b, from, end);
      started++;
    }
    copy_commit();
  }
  if (TURN) {
    right.start(of_right, b, begin, end);
    right.finish(of_right);
    if (begin + DEPTH < end) right.start(of_right, b, begin + DEPTH, end);
  }
  int stage = 0, free = AHEAD;
  for (int done = 0; done < started; done++) {
    copy_wait<AHEAD - 1>();
    fence_for_groups();
    // The stage has arrived for all threads, and all have done with the one before, which is filled again.
    __syncthreads();
    const int next = stage + 1 == AT_ONCE ? 0 : stage + 1, from = begin + done * DEPTH;
    const int ahead = stages.take();
    const float *own = of_left + stage * Left::FLOATS;
    constexpr int STEPS = IN_PAIRS ? 2 : 4;
    unsigned fragments[STEPS][4];
    UNROLL for (int step = 0; step < STEPS; step++) {
      if constexpr (IN_PAIRS) {
        UNROLL for (int i = 0; i < 4; i++) {
          const int row = own_row + i % 2 * 8, depth = step * 16 + i / 2 * 8 + 2 * in;
          Values<2> both;
          if constexpr (A::ALONG_DEPTH) both = load<2>(own + Form::Left::place(row, depth));
          else both = {own[depth * Left::LINE + row], own[(depth + 1) * Left::LINE + row]};
          fragments[step][i] = bf16_pair(both.v[0], both.v[1]);
        }
      } else {
        float values[4];
        if constexpr (A::ALONG_DEPTH) {
          load_fragment(values, own, warp_row, step);
        } else {
          UNROLL for (int i = 0; i < 4; i++) values[i] = own[(step * 8 + i / 2 * 4 + in) * Left::LINE + own_row + i % 2 * 8];
        }
        UNROLL for (int i = 0; i < 4; i++) fragments[step][i] = near_tf32(values[i]);
      }
    }
    if constexpr (IN_PAIRS) multiply_pairs_in_group(sums, fragments, of_right + stage * Right::FLOATS);
    else multiply_in_group(sums, fragments, of_right + stage * Right::FLOATS);
    if (!OVERLAPS) wait_for_group();
    if (TURN && from + DEPTH < end) right.finish(of_right + next * Right::FLOATS);
    if (ahead < end) {
      left.start(of_left + free * Left::FLOATS, a, ahead, end);
      if (!TURN) right.start(of_right + free * Right::FLOATS, b, ahead, end);
      started++;
    }
    copy_commit();
    if (TURN && from + 2 * DEPTH < end) right.start(of_right, b, from + 2 * DEPTH, end);
    if (OVERLAPS) wait_for_group();
    free = stage;
    stage = next;
  }
  const int places[2] = {at(corner.row + own_row), at(corner.row + own_row + 8)};
  tile::hand_on(places, corner.column + 2 * in, sums, more, put);
}

template <class Of, class Form, bool OVERLAPS = true>
struct Tiles : Of {
  static constexpr bool TAKES_PAIRS = Form::IN_PAIRS;
  template <class... Given>
  __device__ static void product(const Given &...given) { group::product<Of, Form, OVERLAPS>(given...); }
};

}  // namespace group
#endif

// Columns taken apart and put together, heads repeated: copies, 16 bytes at a time where rows allow it.
#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

/// i counts the part's elements; Out: from the whole's columns [first, first + columns), else into them.
template <class T, bool Out>
struct columns_op {
  T *whole, *part;
  index step, columns, first;
  template <int V>
  __device__ void run(index i) const {
    const index row = i / columns, at = row * step + first + (i - row * columns);
    T same[V];
    load<V>(Out ? whole + at : part + i, same);
    store<V>(Out ? part + i : whole + at, same);
  }
};
template <bool Out>
void move_columns(const execution& ex, const view& whole, const view& part, index first) {
  if (!part) return;
  visit_float("split_columns", whole.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const columns_op<T, Out> op{whole.as<T>(), part.as<T>(), whole.columns(), part.columns(), first};
    with_vector<wide<T>>(
        whole.columns() | part.columns() | first, [&](auto v) { each<v.value>(queue_of(ex), "split_columns", part.size(), op); }, whole.as<T>(),
        part.as<T>());
  });
}

/// i counts elements of y [R, heads, width].
template <class T>
struct repeat_op {
  const T* x;
  T* y;
  index from_heads, heads, width, first, times;
  template <int V>
  __device__ void run(index i) const {
    const index head = i / width, row = head / heads;
    T same[V];
    load<V>(x + (row * from_heads + (first + head - row * heads) / times) * width + (i - head * width), same);
    store<V>(y + i, same);
  }
};
/// i counts elements of dx [R, heads, width]: the sum over the head's copies, in their order.
template <class T>
struct repeat_gradient_op {
  const T* dy;
  T* dx;
  index heads, copies, width, first, times;
  template <int V>
  __device__ void run(index i) const {
    const index head = i / width, row = head / heads, h = head - row * heads;
    index begin = h * times - first, end = begin + times;
    begin = begin < 0 ? 0 : begin;
    end = end > copies ? copies : end;
    float sum[V] = {};
    for (index j = begin; j < end; ++j) {
      float one[V];
      load<V>(dy + (row * copies + j) * width + (i - head * width), one);
#pragma unroll
      for (int e = 0; e < V; ++e) sum[e] += one[e];
    }
    store<V>(dx + i, sum);
  }
};

}  // namespace

void split_columns(const execution& ex, view x, view a, view b) {
  move_columns<true>(ex, x, a, 0);
  move_columns<true>(ex, x, b, b ? x.columns() - b.columns() : 0);
}
void join_columns(const execution& ex, view a, view b, view x) {
  move_columns<false>(ex, x, a, 0);
  move_columns<false>(ex, x, b, a.columns());
}

void repeat_heads(const execution& ex, view x, std::int64_t first, std::int64_t times, view y) {
  visit_float("repeat_heads", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const repeat_op<T> op{x.as<const T>(), y.as<T>(), x.extent[1], y.extent[1], y.extent[2], first, times};
    with_vector<wide<T>>(
        y.extent[2], [&](auto v) { each<v.value>(queue_of(ex), "repeat_heads", y.size(), op); }, x.as<T>(), y.as<T>());
  });
}
void repeat_heads_gradient(const execution& ex, view dy, std::int64_t first, std::int64_t times, view dx) {
  visit_float("repeat_heads_gradient", dx.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const repeat_gradient_op<T> op{dy.as<const T>(), dx.as<T>(), dx.extent[1], dy.extent[1], dx.extent[2], first, times};
    with_vector<wide<T>>(
        dx.extent[2], [&](auto v) { each<v.value>(queue_of(ex), "repeat_heads_gradient", dx.size(), op); }, dy.as<T>(), dx.as<T>());
  });
}

}  // namespace plait::inline v0_1::cuda

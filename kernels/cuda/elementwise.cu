// Element by element: sums, bias, gated activation, rotary embedding, AdamW; and sums down columns or over everything.
#include <cmath>

#include "plait/kernels/cuda/columns.cuh"
#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

/// Sums are kept in this type.
template <class T>
using sum_of = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

template <class T>
struct add_op {
  const T *a, *b;
  T* out;
  template <int V>
  __device__ void run(index i) const {
    sum_of<T> x[V], y[V];
    load<V>(a + i, x);
    load<V>(b + i, y);
#pragma unroll
    for (int j = 0; j < V; ++j) x[j] += y[j];
    store<V>(out + i, x);
  }
};

template <class From, class To>
struct accumulate_op {
  const From* from;
  To* to;
  template <int V>
  __device__ void run(index i) const {
    using S = std::conditional_t<std::is_same_v<From, double>, double, sum_of<To>>;
    S x[V], y[V];
    load<V>(from + i, x);
    load<V>(to + i, y);
#pragma unroll
    for (int j = 0; j < V; ++j) y[j] += x[j];
    store<V>(to + i, y);
  }
};

template <class T>
struct scale_op {
  T* x;
  sum_of<T> factor;
  template <int V>
  __device__ void run(index i) const {
    sum_of<T> a[V];
    load<V>(x + i, a);
#pragma unroll
    for (int j = 0; j < V; ++j) a[j] *= factor;
    store<V>(x + i, a);
  }
};

template <class T>
struct clamp_op {
  const T* x;
  T* out;
  float limit;
  template <int V>
  __device__ void run(index i) const {
    float a[V];
    load<V>(x + i, a);
#pragma unroll
    for (int j = 0; j < V; ++j) a[j] = a[j] > limit ? limit : a[j] < -limit ? -limit : a[j];
    store<V>(out + i, a);
  }
};

template <class T>
struct clamp_gradient_op {
  const T *x, *dy;
  T* dx;
  float limit;
  template <int V>
  __device__ void run(index i) const {
    float a[V], d[V];
    load<V>(x + i, a);
    load<V>(dy + i, d);
#pragma unroll
    for (int j = 0; j < V; ++j) d[j] = a[j] > limit || a[j] < -limit ? 0.0f : d[j];
    store<V>(dx + i, d);
  }
};

inline constexpr int most_addends = 256;
struct addends {
  const void* at[most_addends];
  int count;
};

template <class T, bool Maximum>
struct reduce_op {
  addends from;
  T* out;
  template <int V>
  __device__ void run(index i) const {
    using S = sum_of<T>;
    S total[V];
    load<V>(static_cast<const T*>(from.at[0]) + i, total);
    for (int a = 1; a < from.count; ++a) {
      S x[V];
      load<V>(static_cast<const T*>(from.at[a]) + i, x);
#pragma unroll
      for (int j = 0; j < V; ++j) {
        if constexpr (Maximum) total[j] = x[j] > total[j] || x[j] != x[j] ? x[j] : total[j];  // a NaN wins, and stays
        else if constexpr (std::is_integral_v<S>)
          total[j] = static_cast<S>(static_cast<std::make_unsigned_t<S>>(total[j]) + static_cast<std::make_unsigned_t<S>>(x[j]));
        else total[j] += x[j];
      }
    }
    store<V>(out + i, total);
  }
};

template <class T>
struct bias_op {
  const T *x, *bias;
  T* out;
  index columns;
  template <int V>
  __device__ void run(index i) const {
    const index c = i % columns;
    float a[V];
    load<V>(x + i, a);
#pragma unroll
    for (int j = 0; j < V; ++j) a[j] += convert<float>(bias[(c + j) % columns]);
    store<V>(out + i, a);
  }
};

__device__ __forceinline__ float sigmoid(float g) { return 1.0f / (1.0f + expf(-g)); }

/// gate and up lie `apart` elements from each other in rows of `step`; columns of them a row.
template <class T>
struct gate_op {
  const T *gate, *up;
  T* y;
  index columns, step;
  template <int V>
  __device__ void run(index i) const {
    const index at = step == columns ? i : i / columns * step + i % columns;
    float g[V], u[V];
    load<V>(gate + at, g);
    load<V>(up + at, u);
#pragma unroll
    for (int j = 0; j < V; ++j) g[j] = g[j] / (1.0f + expf(-g[j])) * u[j];
    store<V>(y + i, g);
  }
};
template <class T>
struct gate_gradient_op {
  const T *gate, *up, *dy;
  T *dgate, *dup;
  index columns, step;
  template <int V>
  __device__ void run(index i) const {
    const index at = step == columns ? i : i / columns * step + i % columns;
    float g[V], u[V], d[V];
    load<V>(gate + at, g);
    load<V>(up + at, u);
    load<V>(dy + i, d);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      const float s = sigmoid(g[j]);
      u[j] = d[j] * u[j] * s * (1.0f + g[j] * (1.0f - s));
      g[j] = d[j] * (g[j] * s);
    }
    store<V>(dgate + at, u);
    store<V>(dup + at, g);
  }
};

/// sigmoid(gate) * x, one gate a row of `columns`.
template <class T>
struct gate_rows_op {
  const T *x, *gate;
  T* y;
  index columns;
  template <int V>
  __device__ void run(index i) const {
    const float factor = sigmoid(convert<float>(gate[i / columns]));
    float a[V];
    load<V>(x + i, a);
#pragma unroll
    for (int j = 0; j < V; ++j) a[j] *= factor;
    store<V>(y + i, a);
  }
};
/// A block takes a row.
template <class T>
__global__ void __launch_bounds__(block_threads)
gate_rows_gradient_kernel(const T* x, const T* gate, const T* dy, T* dx, T* dgate, index rows, index columns) {
  for (index r = blockIdx.x; r < rows; r += gridDim.x) {
    const float factor = sigmoid(convert<float>(gate[r]));
    float total = 0;
    for (index i = threadIdx.x; i < columns; i += block_threads) {
      const float d = convert<float>(dy[r * columns + i]);
      total += d * convert<float>(x[r * columns + i]);
      dx[r * columns + i] = convert<T>(factor * d);
    }
    total = over_group<block_threads>(total, plus{});
    if (threadIdx.x == 0) dgate[r] = convert<T>(factor * (1.0f - factor) * total);
  }
}

/// i counts what a row (a head of a token) takes: its `half` pairs, then its columns that do not turn.
template <class T, bool Interleaved>
struct rope_op {
  const T* x;
  const float *cosine, *sine;
  T* y;
  index heads, width, half, first;
  float sign;
  template <int V>
  __device__ void run(index i) const {
    const index each = width - half, row = i / each, c = i - row * each;
    if (c >= half) {
      const index still = c - half, at = row * width + (still < first ? still : still + 2 * half);
      T same[V];
      load<V>(x + at, same);
      store<V>(y + at, same);
      return;
    }
    const index angle = row / heads * half + c, at = row * width + first + (Interleaved ? 2 * c : c);
    constexpr index apart = Interleaved ? V : 0;  // the second load's distance; of halves it is `half`
    const index other = Interleaved ? at + apart : at + half;
    float e[2][V], cs[V], sn[V];
    load<V>(x + at, e[0]);
    load<V>(x + other, e[1]);
    load<V>(cosine + angle, cs);
    load<V>(sine + angle, sn);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      float& a = Interleaved ? e[2 * j / V][2 * j % V] : e[0][j];
      float& b = Interleaved ? e[(2 * j + 1) / V][(2 * j + 1) % V] : e[1][j];
      const float turn = sign * sn[j], turned = a * cs[j] - b * turn;
      b = b * cs[j] + a * turn;
      a = turned;
    }
    store<V>(y + at, e[0]);
    store<V>(y + other, e[1]);
  }
};

/// P: the master weights and moments. `copy`: the new weights in bf16, if wanted.
template <class P, class G>
struct adamw_op {
  P *p, *m, *v;
  const G* gradient;
  bf16* copy;
  float decay, weight1, beta2, weight2, root2, epsilon, size, factor;
  bool from_start;
  template <int V>
  __device__ void run(index i) const {
    float w[V], g[V], first[V], second[V];
    load<V>(p + i, w);
    load<V>(gradient + i, g);
    load<V>(m + i, first);
    load<V>(v + i, second);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      const float d = g[j] * factor;
      first[j] = from_start ? first[j] + weight1 * (d - first[j]) : d - (d - first[j]) * (1.0f - weight1);
      second[j] = second[j] * beta2 + weight2 * d * d;
      w[j] = w[j] * decay + size * first[j] / (sqrtf(second[j]) / root2 + epsilon);
    }
    store<V>(m + i, first);
    store<V>(v + i, second);
    store<V>(p + i, w);
    if (copy != nullptr) store<V>(copy + i, w);
  }
};

inline constexpr int square_blocks = 1024;

template <class T, int V>
__global__ void __launch_bounds__(block_threads) squares_kernel(const T* x, index n, double* parts) {
  double total = 0;
  const index thread = static_cast<index>(blockIdx.x) * block_threads + threadIdx.x, step = static_cast<index>(gridDim.x) * block_threads;
#pragma unroll 2
  for (index i = thread * V; i + V <= n; i += step * V) {
    double a[V];
    load<V>(x + i, a);
#pragma unroll
    for (int j = 0; j < V; ++j) total += a[j] * a[j];
  }
  if (const index rest = n / V * V + thread; V > 1 && rest < n) {
    const double a = convert<double>(x[rest]);
    total += a * a;
  }
  total = over_group<block_threads>(total, plus{});
  if (threadIdx.x == 0) parts[blockIdx.x] = total;
}
__global__ void __launch_bounds__(block_threads) add_parts_kernel(const double* parts, int count, double* total) {
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += block_threads) sum += parts[i];
  sum = over_group<block_threads>(sum, plus{});
  if (threadIdx.x == 0) *total += sum;
}

template <class T>
void gate(queue& q, const T* gate, const T* up, T* y, index n, index columns, index step) {
  const gate_op<T> op{gate, up, y, columns, step};
  with_vector<wide<T>>(columns, [&](auto v) { each<v.value>(q, "swiglu", n, op); }, gate, up, y);
}
template <class T>
void gate_gradient(queue& q, const T* gate, const T* up, const T* dy, T* dgate, T* dup, index n, index columns, index step) {
  const gate_gradient_op<T> op{gate, up, dy, dgate, dup, columns, step};
  with_vector<wide<T>>(columns, [&](auto v) { each<v.value>(q, "swiglu_gradient", n, op); }, gate, up, dy, dgate, dup);
}

}  // namespace

void add(const execution& ex, view a, view b, view out) {
  const auto run = [&](auto tag) {
    using T = typename decltype(tag)::type;
    each<wide<T>>(queue_of(ex), "add", out.size(), add_op<T>{a.as<const T>(), b.as<const T>(), out.as<T>()}, a.as<T>(), b.as<T>(),
                  out.as<T>());
  };
  if (out.type == dtype::f64) run(type_tag<double>{});
  else visit_float("add", out.type, run);
}

void accumulate(const execution& ex, view from, view to) {
  visit_float("accumulate", from.type, [&](auto from_tag) {
    using From = typename decltype(from_tag)::type;
    visit_float("accumulate", to.type, [&](auto to_tag) {
      using To = typename decltype(to_tag)::type;
      each<4>(queue_of(ex), "accumulate", to.size(), accumulate_op<From, To>{from.as<const From>(), to.as<To>()}, from.as<From>(),
              to.as<To>());
    });
  });
}

void scale(const execution& ex, view x, double factor) {
  visit_float("scale", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    each<wide<T>>(queue_of(ex), "scale", x.size(), scale_op<T>{x.as<T>(), static_cast<float>(factor)}, x.as<T>());
  });
}

void clamp(const execution& ex, view x, double limit, view out) {
  visit_float("clamp", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    each<4>(queue_of(ex), "clamp", x.size(), clamp_op<T>{x.as<const T>(), out.as<T>(), static_cast<float>(limit)}, x.as<T>(), out.as<T>());
  });
}

void clamp_gradient(const execution& ex, view x, view dy, double limit, view dx) {
  visit_float("clamp_gradient", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    each<4>(queue_of(ex), "clamp_gradient", x.size(), clamp_gradient_op<T>{x.as<const T>(), dy.as<const T>(), dx.as<T>(), static_cast<float>(limit)},
            x.as<T>(), dy.as<T>(), dx.as<T>());
  });
}

void reduce(const execution& ex, const void* const* from, int count, view out, bool maximum) {
  if (count > most_addends) throw std::runtime_error("plait: the CUDA backend sums at most 256 ranks' arrays");
  addends all{};
  all.count = count;
  std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(out.data);
  for (int i = 0; i < count; ++i) {
    all.at[i] = from[i];
    bits |= reinterpret_cast<std::uintptr_t>(from[i]);
  }
  const void* worst = reinterpret_cast<const void*>(bits);  // aligned only if all of them are
  visit_any(out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (maximum) each<wide<T>>(queue_of(ex), "reduce", out.size(), reduce_op<T, true>{all, out.as<T>()}, worst);
    else each<wide<T>>(queue_of(ex), "reduce", out.size(), reduce_op<T, false>{all, out.as<T>()}, worst);
  });
}

void bias_add(const execution& ex, view x, view bias, view out) {
  visit_float("bias_add", out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (bias.type != out.type) unsupported("bias_add with another type of bias", bias.type);
    each<4>(queue_of(ex), "bias_add", out.size(), bias_op<T>{x.as<const T>(), bias.as<const T>(), out.as<T>(), out.columns()}, x.as<T>(),
            out.as<T>());
  });
}

void bias_gradient(const execution& ex, view dy, view dbias) {
  visit_float("bias_gradient", dy.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    add_columns(queue_of(ex), dy.as<const T>(), dy.rows(), dy.columns(), nullptr, dbias, true);
  });
}

void swiglu(const execution& ex, view packed, const gated_options& options, view y) {
  if (!(options == gated_options{})) return gated(ex, packed, options, y);
  visit_float("swiglu", packed.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const index n = packed.columns() / 2;
    gate(queue_of(ex), packed.as<const T>(), packed.as<const T>() + n, y.as<T>(), y.size(), n, 2 * n);
  });
}
void swiglu_gradient(const execution& ex, view packed, view dy, const gated_options& options, view dpacked) {
  if (!(options == gated_options{})) return gated_gradient(ex, packed, dy, options, dpacked);
  visit_float("swiglu_gradient", packed.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const index n = packed.columns() / 2;
    gate_gradient(queue_of(ex), packed.as<const T>(), packed.as<const T>() + n, dy.as<const T>(), dpacked.as<T>(), dpacked.as<T>() + n,
                  dy.size(), n, 2 * n);
  });
}
void swiglu_pair(const execution& ex, view gate_view, view up, view y) {
  visit_float("swiglu_pair", gate_view.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    gate(queue_of(ex), gate_view.as<const T>(), up.as<const T>(), y.as<T>(), y.size(), y.size(), y.size());
  });
}
void swiglu_pair_gradient(const execution& ex, view gate_view, view up, view dy, view dgate, view dup) {
  visit_float("swiglu_pair_gradient", gate_view.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    gate_gradient(queue_of(ex), gate_view.as<const T>(), up.as<const T>(), dy.as<const T>(), dgate.as<T>(), dup.as<T>(), dy.size(),
                  dy.size(), dy.size());
  });
}

void gate_rows(const execution& ex, view x, view gate_view, view y) {
  visit_float("gate_rows", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const gate_rows_op<T> op{x.as<const T>(), gate_view.as<const T>(), y.as<T>(), x.columns()};
    with_vector<wide<T>>(x.columns(), [&](auto v) { each<v.value>(queue_of(ex), "gate_rows", x.size(), op); }, x.as<T>(), y.as<T>());
  });
}
void gate_rows_gradient(const execution& ex, view x, view gate_view, view dy, view dx, view dgate) {
  if (x.rows() == 0) return;
  queue& q = queue_of(ex);
  visit_float("gate_rows_gradient", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    gate_rows_gradient_kernel<<<blocks_for(x.rows(), 1, 4ll * q.multiprocessors), block_threads, 0, q.stream>>>(
        x.as<const T>(), gate_view.as<const T>(), dy.as<const T>(), dx.as<T>(), dgate.as<T>(), x.rows(), x.columns());
    launched("gate_rows_gradient");
  });
}

void rope(const execution& ex, view x, view cosine, view sine, rotary_form form, bool inverse, view y) {
  const index heads = x.extent[2], width = x.extent[3], half = cosine.extent[2];
  const auto run = [&](auto tag, auto interleaved) {
    using T = typename decltype(tag)::type;
    const rope_op<T, decltype(interleaved)::value> op{
        x.as<const T>(), cosine.as<const float>(), sine.as<const float>(), y.as<T>(), heads, width, half, form.first, inverse ? -1.0f : 1.0f};
    with_vector<wide<T>>(
        half | form.first | width, [&](auto v) { each<v.value>(queue_of(ex), "rope", x.rows() * (width - half), op); }, x.as<T>(), y.as<T>(),
        cosine.as<float>(), sine.as<float>());
  };
  visit_float("rope", x.type, [&](auto tag) {
    if (form.interleaved) run(tag, std::true_type{});
    else run(tag, std::false_type{});
  });
}

void adamw(const execution& ex, view master, view gradient, view moment1, view moment2, view copy, const adamw_options& o) {
  if (moment1.type != master.type || moment2.type != master.type) unsupported("adamw's moments beside another type of weights", moment1.type);
  if (copy && copy.type != dtype::bf16) unsupported("adamw's copy of the weights", copy.type);
  const double step = static_cast<double>(o.step);
  const double correction1 = 1 - std::pow(o.beta1, step), correction2 = 1 - std::pow(o.beta2, step);
  visit_float("adamw", gradient.type, [&](auto tag) {
    using G = typename decltype(tag)::type;
    visit_float("adamw's master copy", master.type, [&](auto master_tag) {
      using P = typename decltype(master_tag)::type;
      // Scalars are worked out in double and rounded once, as the CPU backend does.
      const adamw_op<P, G> op{master.as<P>(),
                              moment1.as<P>(),
                              moment2.as<P>(),
                              gradient.as<const G>(),
                              copy.as<bf16>(),
                              static_cast<float>(1 - o.learning_rate * o.weight_decay),
                              static_cast<float>(1 - o.beta1),
                              static_cast<float>(o.beta2),
                              static_cast<float>(1 - o.beta2),
                              static_cast<float>(std::sqrt(correction2)),
                              static_cast<float>(o.epsilon),
                              static_cast<float>(-(o.learning_rate / correction1)),
                              static_cast<float>(o.gradient_scale),
                              1 - o.beta1 < 0.5};
      each<4>(queue_of(ex), "adamw", master.size(), op, master.as<P>(), moment1.as<P>(), moment2.as<P>(), gradient.as<G>(), copy.as<bf16>());
    });
  });
}

void sum_of_squares(const execution& ex, view x, view total) {
  const index n = x.size();
  if (n == 0) return;
  queue& q = queue_of(ex);
  const unsigned blocks = blocks_for(n, 8 * block_threads, square_blocks);
  const scratch parts(q, sizeof(double) * blocks);
  const auto run = [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (aligned16(x.as<T>())) squares_kernel<T, 4><<<blocks, block_threads, 0, q.stream>>>(x.as<const T>(), n, parts.as<double>());
    else squares_kernel<T, 1><<<blocks, block_threads, 0, q.stream>>>(x.as<const T>(), n, parts.as<double>());
  };
  if (x.type == dtype::f64) run(type_tag<double>{});
  else visit_float("sum_of_squares", x.type, run);
  launched("sum_of_squares");
  add_parts_kernel<<<1, block_threads, 0, q.stream>>>(parts.as<double>(), static_cast<int>(blocks), total.as<double>());
  launched("sum_of_squares");
}

}  // namespace plait::inline v0_1::cuda

// The router, moving rows to experts' slots and back, load statistics and the balancing product. No floating-point atomics.
#include <cmath>

#include "plait/kernels/cuda/columns.cuh"
#include "plait/kernels/cuda/counting_sort.cuh"
#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

inline constexpr int token_warps = 4;  // tokens a block: a warp each
inline constexpr unsigned all_lanes = ~0u;

/// router_options in float32, as kernels read them.
struct route_numbers {
  router_scoring scoring;
  bool normalise, by_logits, two_best;
  float smallest_sum, epsilon, factor, nearness;
  int groups, kept_groups;

  explicit route_numbers(const router_options& o, bool biased)
      : scoring(o.scoring), normalise(o.normalise), by_logits(!biased && (o.groups == 1 || o.worth == group_worth::best)),
        two_best(o.worth == group_worth::two_best), smallest_sum(static_cast<float>(o.smallest_sum)), epsilon(static_cast<float>(o.epsilon)),
        factor(static_cast<float>(o.factor)), nearness(static_cast<float>(o.nearness)), groups(o.groups), kept_groups(o.kept_groups) {}
  __device__ float divisor(float sum) const { return normalise ? (sum > smallest_sum ? sum : smallest_sum) + epsilon : 1.0f; }
};

/// Is logit l near the chosen one m? 0 / 0 is near.
__device__ __forceinline__ bool near_logit(float l, float m, float nearness) {
  const float size = fabsf(l);
  return !((m - l) / (size > m ? size : m) > nearness);
}
/// The share of the j-th chosen expert in the softmax over the logits near it; a warp together. `first`: the first choice, left out
/// of the second mixture.
template <class T>
__device__ __forceinline__ float mixture_share(const T* logits, int experts, int chosen, int first, int j, float nearness, int lane) {
  const float m = convert<float>(logits[chosen]);
  float total = 0;
  for (int e = lane; e < experts; e += 32) {
    const float l = convert<float>(logits[e]);
    if (!(j == 1 && e == first) && near_logit(l, m, nearness)) total += expf(l - m);
  }
  return 1.0f / over_warp(total, plus{});
}

/// Minus infinity for the experts outside of the best groups; ties between groups to the lower one. A warp together.
__device__ __forceinline__ void keep_groups(float* choice, float* worth, int experts, const route_numbers& o, int lane) {
  const int size = experts / o.groups;
  for (int g = lane; g < o.groups; g += 32) {
    float first = -INFINITY, second = -INFINITY;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      if (choice[e] > first) second = first, first = choice[e];
      else if (choice[e] > second) second = choice[e];
    }
    worth[g] = o.two_best ? first + second : first;
  }
  __syncwarp();
  for (int g = lane; g < o.groups; g += 32) {
    int better = 0;
    for (int h = 0; h < o.groups; ++h) better += worth[h] > worth[g] || (worth[h] == worth[g] && h < g) ? 1 : 0;
    if (better < o.kept_groups) continue;
    for (int e = g * size; e < (g + 1) * size; ++e) choice[e] = -INFINITY;
  }
  __syncwarp();
}

/// Shared memory of a warp: what the choice goes by [E], probabilities [E], the groups' worth [groups].
template <class T>
__global__ void __launch_bounds__(32 * token_warps) router_kernel(const T* logits, const float* bias, route_numbers o, float* probabilities,
                                                                  int* ids, T* scores, index tokens, int experts, int k,
                                                                  unsigned long long* faults) {
  extern __shared__ float shared[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const index t = static_cast<index>(blockIdx.x) * token_warps + warp;
  if (t >= tokens) return;
  float* const choice = shared + static_cast<index>(warp) * (2 * experts + o.groups);
  float* const p = choice + experts;
  float largest = -INFINITY;
  bool finite = true;
  for (int e = lane; e < experts; e += 32) {
    const float a = convert<float>(logits[t * experts + e]);
    choice[e] = a;
    finite = finite && a - a == 0.0f;
    largest = a > largest ? a : largest;
  }
  if (!__all_sync(all_lanes, finite)) {
    if (lane == 0) raise(faults, fault::nan_router_logits, t);
    if (probabilities != nullptr)
      for (int e = lane; e < experts; e += 32) probabilities[t * experts + e] = 0;
    for (int j = lane; j < k; j += 32) {
      ids[t * k + j] = j < experts ? j : -1;
      if (scores != nullptr) scores[t * k + j] = convert<T>(0.0f);
    }
    return;
  }
  if (o.scoring == router_scoring::sigmoid) {
    for (int e = lane; e < experts; e += 32) p[e] = 1.0f / (1.0f + expf(-choice[e]));
  } else {
    largest = over_warp(largest, larger{});
    float total = 0;
    for (int e = lane; e < experts; e += 32) total += p[e] = expf(choice[e] - largest);
    total = over_warp(total, plus{});
    for (int e = lane; e < experts; e += 32) p[e] /= total;
  }
  for (int e = lane; e < experts; e += 32) {
    if (probabilities != nullptr) probabilities[t * experts + e] = p[e];
    if (!o.by_logits) choice[e] = p[e] + (bias != nullptr ? bias[e] : 0.0f);
  }
  __syncwarp();
  if (o.groups > 1) keep_groups(choice, p + experts, experts, o, lane);
  float kept = 0;
  int first = -1;
  for (int j = 0; j < k; ++j) {
    float best = -INFINITY;
    int at = experts;
    for (int e = lane; e < experts; e += 32)
      if (choice[e] > best) best = choice[e], at = e;
    for (int step = 16; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(all_lanes, best, step);
      const int other_at = __shfl_xor_sync(all_lanes, at, step);
      if (other > best || (other == best && other_at < at)) best = other, at = other_at;
    }
    const bool found = at < experts;
    if (j == 0) first = at;
    if (found && o.scoring == router_scoring::sparsemixer) {
      const float share = mixture_share(logits + t * experts, experts, at, first, j, o.nearness, lane);
      kept += share;
      if (lane == 0) p[at] = share;  // p has been written out
    } else if (found) {
      kept += p[at];
    }
    if (lane == 0) {
      ids[t * k + j] = found ? at : -1;
      if (found) choice[at] = -INFINITY;
    }
    __syncwarp();
  }
  if (scores == nullptr) return;
  for (int j = lane; j < k; j += 32) {
    const int e = ids[t * k + j];  // written by lane 0 of this warp, before the barrier
    scores[t * k + j] = convert<T>((e >= 0 ? p[e] : 0.0f) / o.divisor(kept) * o.factor);
  }
}

/// dlogits = p * (d - sum p d)
template <class T>
__device__ __forceinline__ void softmax_gradient(const float* p, const float* d, T* out, int experts, int lane) {
  float mean = 0;
  for (int e = lane; e < experts; e += 32) mean += p[e] * d[e];
  mean = over_warp(mean, plus{});
  for (int e = lane; e < experts; e += 32) out[e] = convert<T>(p[e] * (d[e] - mean));
}

template <class T>
__global__ void __launch_bounds__(32 * token_warps) router_gradient_kernel(const float* probabilities, const int* ids, const T* dscores,
                                                                           route_numbers o, T* dlogits, index tokens, int experts, int k) {
  extern __shared__ float shared[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const index t = static_cast<index>(blockIdx.x) * token_warps + warp;
  if (t >= tokens) return;
  float* const d = shared + static_cast<index>(warp) * experts;
  const float* const p = probabilities + t * experts;
  for (int e = lane; e < experts; e += 32) d[e] = 0;
  float kept = 0, mean = 0;
  for (int j = lane; j < k; j += 32) {
    const int e = ids[t * k + j];
    if (e < 0 || e >= experts) continue;
    kept += p[e];
    mean += convert<float>(dscores[t * k + j]) * p[e];
  }
  kept = over_warp(kept, plus{});
  mean = over_warp(mean, plus{});
  __syncwarp();
  if (kept > 0.0f) {  // a row that raised nan_router_logits has zero probabilities and no gradient
    const float by = o.divisor(kept);
    const float common = o.normalise && kept >= o.smallest_sum ? mean / by : 0.0f;  // a floor does not follow the sum
    for (int j = lane; j < k; j += 32) {
      const int e = ids[t * k + j];
      if (e < 0 || e >= experts) continue;
      d[e] += (convert<float>(dscores[t * k + j]) - common) / by * o.factor;
    }
  }
  __syncwarp();
  if (o.scoring == router_scoring::sigmoid) {
    for (int e = lane; e < experts; e += 32) dlogits[t * experts + e] = convert<T>(d[e] * p[e] * (1.0f - p[e]));
  } else {
    softmax_gradient(p, d, dlogits + t * experts, experts, lane);
  }
}

/// Two choices a token, each the softmax over the logits near it.
template <class T>
__global__ void __launch_bounds__(32 * token_warps) mixture_gradient_kernel(const T* logits, const float* probabilities, const int* ids,
                                                                            const T* dscores, route_numbers o, T* dlogits, index tokens,
                                                                            int experts) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const index t = static_cast<index>(blockIdx.x) * token_warps + warp;
  if (t >= tokens) return;
  const T* const l = logits + t * experts;
  T* const out = dlogits + t * experts;
  const int chosen[2] = {ids[2 * t], ids[2 * t + 1]};
  const auto valid = [experts](int e) { return e >= 0 && e < experts; };
  const bool any = (valid(chosen[0]) && probabilities[t * experts + chosen[0]] > 0.0f) ||
                   (valid(chosen[1]) && probabilities[t * experts + chosen[1]] > 0.0f);
  if (!any) {  // a row that raised nan_router_logits
    for (int e = lane; e < experts; e += 32) out[e] = convert<T>(0.0f);
    return;
  }
  float share[2] = {0, 0}, at[2] = {0, 0}, draw[2] = {0, 0};
  for (int j = 0; j < 2; ++j)
    if (valid(chosen[j])) {
      share[j] = mixture_share(l, experts, chosen[j], chosen[0], j, o.nearness, lane);
      at[j] = convert<float>(l[chosen[j]]);
      draw[j] = convert<float>(dscores[2 * t + j]);
    }
  const float kept = share[0] + share[1], by = o.divisor(kept);
  const float common = o.normalise && kept >= o.smallest_sum ? (draw[0] * share[0] + draw[1] * share[1]) / by : 0.0f;
  for (int j = 0; j < 2; ++j) draw[j] = valid(chosen[j]) ? (draw[j] - common) / by * o.factor : 0.0f;
  for (int e = lane; e < experts; e += 32) {
    const float a = convert<float>(l[e]);
    float d = 0;
    for (int j = 0; j < 2; ++j) {
      if (!valid(chosen[j])) continue;
      if (!(j == 1 && e == chosen[0]) && near_logit(a, at[j], o.nearness)) d -= draw[j] * share[j] * share[j] * expf(a - at[j]);
      if (e == chosen[j]) d += draw[j] * share[j];
    }
    out[e] = convert<T>(d);
  }
}

template <class T>
__global__ void __launch_bounds__(32 * token_warps) statistics_gradient_kernel(const float* probabilities, const std::uint8_t* valid,
                                                                               const float* dsums, T* dlogits, index tokens, int experts) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const index t = static_cast<index>(blockIdx.x) * token_warps + warp;
  if (t >= tokens) return;
  if (valid != nullptr && valid[t] == 0) {
    for (int e = lane; e < experts; e += 32) dlogits[t * experts + e] = convert<T>(0.0f);
    return;
  }
  softmax_gradient(probabilities + t * experts, dsums, dlogits + t * experts, experts, lane);
}

struct expert_key {
  const int* ids;
  index first, local;
  __device__ int operator()(index i) const {
    const index e = ids[i];
    return e >= first && e - first < local ? static_cast<int>(e - first) : -1;
  }
};
struct pair_place {
  int *pair_of_slot, *slot_of_pair;
  __device__ void operator()(index i, int slot) const {
    if (slot >= 0 && pair_of_slot != nullptr) pair_of_slot[slot] = static_cast<int>(i);
    if (slot_of_pair != nullptr) slot_of_pair[i] = slot;
  }
};

/// A block an (expert, rank): where that rank's rows for the expert arrive, and the slots they go to.
__global__ void __launch_bounds__(block_threads)
    exchange_plan_kernel(const int* received, int ranks, int local, index rows, int* offsets, int* row_of_slot, int* slot_of_row) {
  const int e = static_cast<int>(blockIdx.x) / ranks, m = static_cast<int>(blockIdx.x) % ranks;
  const auto begin = [&](int rank, int expert) { return received[static_cast<index>(rank) * (local + 1) + expert]; };
  int slot = 0, row = 0;
  for (int r = static_cast<int>(threadIdx.x); r < ranks; r += block_threads) {
    slot += begin(r, e) - begin(r, 0);  // of the experts before
    if (r < m) slot += begin(r, e + 1) - begin(r, e), row += begin(r, local) - begin(r, 0);
  }
  slot = over_group<block_threads>(slot, plus{});
  row = over_group<block_threads>(row, plus{}) + begin(m, e) - begin(m, 0);
  const int count = begin(m, e + 1) - begin(m, e);
  if (threadIdx.x == 0 && m == 0) offsets[e] = slot;
  if (threadIdx.x == 0 && m == ranks - 1 && e == local - 1) offsets[local] = slot + count;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += block_threads) {
    if (slot + i >= rows || row + i >= rows) break;
    row_of_slot[slot + i] = row + i;
    slot_of_row[row + i] = slot + i;
  }
}

template <class T, int V>
__global__ void __launch_bounds__(128)
    gather_kernel(const T* x, index tokens, index k, const int* pair_of_slot, const int* last, index slots, T* rows, index width) {
  const index kept = *last < slots ? *last : slots;
  for (index s = blockIdx.x; s < kept; s += gridDim.x) {
    const index pair = pair_of_slot[s];
    if (pair < 0 || pair >= tokens * k) continue;
    const T* const from = x + pair / k * width;
    for (index c = threadIdx.x * V; c < width; c += 128 * V) {
      T a[V];
      load<V>(from + c, a);
      store<V>(rows + s * width + c, a);
    }
  }
}

/// scores null: every row counts once.
template <class T, int V>
__global__ void __launch_bounds__(128)
    sum_slots_kernel(const T* rows, index slots, const T* scores, const int* slot_of_pair, index k, T* out, index tokens, index width) {
  for (index t = blockIdx.x; t < tokens; t += gridDim.x)
    for (index c = threadIdx.x * V; c < width; c += 128 * V) {
      float total[V] = {};
      for (index j = 0; j < k; ++j) {
        const index s = slot_of_pair[t * k + j];
        if (s < 0 || s >= slots) continue;
        const float w = scores != nullptr ? convert<float>(scores[t * k + j]) : 1.0f;
        float a[V];
        load<V>(rows + s * width + c, a);
#pragma unroll
        for (int i = 0; i < V; ++i) total[i] += w * a[i];
      }
      store<V>(out + t * width + c, total);
    }
}

/// A warp a pair.
template <class T, int V>
__global__ void __launch_bounds__(block_threads)
    combine_gradient_kernel(const T* dy, const T* rows, index slots, const T* scores, const int* slot_of_pair, index k, T* drows,
                            T* dscores, index pairs, index width) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  constexpr int warps = block_threads / 32;
  for (index p = static_cast<index>(blockIdx.x) * warps + threadIdx.x / 32; p < pairs; p += static_cast<index>(gridDim.x) * warps) {
    const index s = slot_of_pair[p];
    if (s < 0 || s >= slots) {
      if (dscores != nullptr && lane == 0) dscores[p] = convert<T>(0.0f);
      continue;
    }
    const float w = convert<float>(scores[p]);
    float sum = 0;
    for (index c = lane * V; c < width; c += 32 * V) {
      float g[V], r[V];
      load<V>(dy + p / k * width + c, g);
      if (dscores != nullptr) {
        load<V>(rows + s * width + c, r);
#pragma unroll
        for (int i = 0; i < V; ++i) sum += g[i] * r[i];
      }
      if (drows != nullptr) {
#pragma unroll
        for (int i = 0; i < V; ++i) g[i] *= w;
        store<V>(drows + s * width + c, g);
      }
    }
    if (dscores == nullptr) continue;
    sum = over_warp(sum, plus{});
    if (lane == 0) dscores[p] = convert<T>(sum);
  }
}

__global__ void __launch_bounds__(block_threads)
    count_choices_kernel(const int* ids, const std::uint8_t* valid, index pairs, index k, int experts, unsigned* counts) {
  extern __shared__ unsigned mine[];
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += block_threads) mine[e] = 0;
  __syncthreads();
  for (index p = static_cast<index>(blockIdx.x) * block_threads + threadIdx.x; p < pairs;
       p += static_cast<index>(gridDim.x) * block_threads) {
    const int e = ids[p];
    if (e >= 0 && e < experts && (valid == nullptr || valid[p / k] != 0)) atomicAdd(&mine[e], 1u);
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += block_threads)
    if (mine[e] != 0) atomicAdd(&counts[e], mine[e]);
}
__global__ void counts_as_float_kernel(const unsigned* counts, int experts, float* out) {
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += static_cast<int>(blockDim.x)) out[e] = static_cast<float>(counts[e]);
}

__global__ void __launch_bounds__(block_threads) balance_kernel(const float* s, index experts, double factor, float* loss) {
  double sum = 0;
  for (index e = threadIdx.x; e < experts; e += block_threads) sum += static_cast<double>(s[e]) * static_cast<double>(s[experts + e]);
  sum = over_group<block_threads>(sum, plus{});
  if (threadIdx.x == 0) loss[0] = static_cast<float>(factor * sum);
}
__global__ void balance_gradient_kernel(const float* s, index experts, double factor, const float* dloss, float* d) {
  const double g = factor * static_cast<double>(dloss[0]);
  for (index e = threadIdx.x; e < experts; e += blockDim.x) {
    d[e] = 0;
    d[experts + e] = static_cast<float>(g * static_cast<double>(s[e]));
  }
}

void require(dtype got, dtype wanted, const char* what) {
  if (got != wanted) unsupported(what, got);
}

}  // namespace

void router(const execution& ex, view logits, view bias, const router_options& options, view probabilities, view ids, view scores) {
  const index tokens = logits.rows();
  const int experts = static_cast<int>(logits.columns()), k = static_cast<int>(ids.columns());
  if (tokens == 0) return;
  queue& q = queue_of(ex);
  if (scores) require(scores.type, logits.type, "router with another type of scores");
  if (bias) require(bias.type, dtype::f32, "router with another type of bias");
  visit_float("router", logits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const std::size_t shared = sizeof(float) * token_warps * (2 * static_cast<std::size_t>(experts) + static_cast<std::size_t>(options.groups));
    allow_shared(router_kernel<T>, shared, "router");
    router_kernel<T><<<blocks_for(tokens, token_warps, most_blocks), 32 * token_warps, shared, q.stream>>>(
        logits.as<const T>(), bias.as<const float>(), route_numbers(options, static_cast<bool>(bias)), probabilities.as<float>(), ids.as<int>(),
        scores.as<T>(), tokens, experts, k, q.faults);
    launched("router");
  });
}

void router_gradient(const execution& ex, view logits, view probabilities, view ids, view dscores, const router_options& options,
                     view dlogits) {
  const index tokens = probabilities.rows();
  const int experts = static_cast<int>(probabilities.columns()), k = static_cast<int>(ids.columns());
  if (tokens == 0 || experts == 0) return;
  queue& q = queue_of(ex);
  require(dscores.type, dlogits.type, "router_gradient with another type of scores");
  visit_float("router_gradient", dlogits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const route_numbers o(options, false);
    const unsigned blocks = blocks_for(tokens, token_warps, most_blocks);
    if (options.scoring == router_scoring::sparsemixer) {
      require(logits.type, dlogits.type, "router_gradient with another type of logits");
      mixture_gradient_kernel<T><<<blocks, 32 * token_warps, 0, q.stream>>>(logits.as<const T>(), probabilities.as<const float>(),
                                                                            ids.as<const int>(), dscores.as<const T>(), o, dlogits.as<T>(),
                                                                            tokens, experts);
    } else {
      const std::size_t shared = sizeof(float) * token_warps * static_cast<std::size_t>(experts);
      allow_shared(router_gradient_kernel<T>, shared, "router_gradient");
      router_gradient_kernel<T><<<blocks, 32 * token_warps, shared, q.stream>>>(probabilities.as<const float>(), ids.as<const int>(),
                                                                                dscores.as<const T>(), o, dlogits.as<T>(), tokens, experts, k);
    }
    launched("router_gradient");
  });
}

void dispatch_plan(const execution& ex, view ids, std::int64_t first, std::int64_t local, view offsets, view pair_of_slot,
                   view slot_of_pair) {
  queue& q = queue_of(ex);
  const index pairs = ids.size();
  if (pair_of_slot && pairs > 0) check(cudaMemsetAsync(pair_of_slot.data, 0xff, pair_of_slot.bytes(), q.stream), "dispatch_plan");  // -1
  if (pairs == 0 || local == 0) {
    if (offsets) check(cudaMemsetAsync(offsets.data, 0, offsets.bytes(), q.stream), "dispatch_plan");
    if (slot_of_pair && pairs > 0) check(cudaMemsetAsync(slot_of_pair.data, 0xff, slot_of_pair.bytes(), q.stream), "dispatch_plan");
    return;
  }
  counting_sort(q, expert_key{ids.as<const int>(), first, local}, pair_place{pair_of_slot.as<int>(), slot_of_pair.as<int>()}, pairs,
                static_cast<int>(local), offsets.as<int>());
}

void exchange_plan(const execution& ex, view received, view offsets, view row_of_slot, view slot_of_row) {
  queue& q = queue_of(ex);
  const int ranks = static_cast<int>(received.rows()), local = static_cast<int>(received.columns()) - 1;
  if (local == 0 || ranks == 0) {
    check(cudaMemsetAsync(offsets.data, 0, offsets.bytes(), q.stream), "exchange_plan");
    return;
  }
  exchange_plan_kernel<<<static_cast<unsigned>(ranks * local), block_threads, 0, q.stream>>>(
      received.as<const int>(), ranks, local, row_of_slot.size(), offsets.as<int>(), row_of_slot.as<int>(), slot_of_row.as<int>());
  launched("exchange_plan");
}

void gather_rows(const execution& ex, view x, std::int64_t k, view pair_of_slot, view offsets, view rows) {
  const index slots = pair_of_slot.size(), width = x.columns();
  if (slots == 0 || width == 0) return;
  queue& q = queue_of(ex);
  visit_float("gather_rows", x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_vector<wide<T>>(width, [&](auto v) {
      constexpr int V = decltype(v)::value;
      gather_kernel<T, V><<<blocks_for(slots, 1), 128, 0, q.stream>>>(x.as<const T>(), x.rows(), k, pair_of_slot.as<const int>(),
                                                                      offsets.as<const int>() + offsets.size() - 1, slots, rows.as<T>(),
                                                                      width);
    }, x.as<T>(), rows.as<T>());
    launched("gather_rows");
  });
}

namespace {
void sum_slots(queue& q, view rows, view scores, index k, view slot_of_pair, view out) {
  const index tokens = out.rows(), width = out.columns();
  if (tokens == 0 || width == 0) return;
  visit_float("combine", out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_vector<wide<T>>(width, [&](auto v) {
      constexpr int V = decltype(v)::value;
      sum_slots_kernel<T, V><<<blocks_for(tokens, 1), 128, 0, q.stream>>>(rows.as<const T>(), rows.rows(), scores.as<const T>(),
                                                                          slot_of_pair.as<const int>(), k, out.as<T>(), tokens, width);
    }, rows.as<T>(), out.as<T>());
    launched("combine");
  });
}
}  // namespace

void gather_rows_gradient(const execution& ex, view drows, std::int64_t k, view slot_of_pair, view dx) {
  sum_slots(queue_of(ex), drows, view{}, k, slot_of_pair, dx);
}

void combine(const execution& ex, view rows, view scores, view slot_of_pair, view y) {
  require(scores.type, y.type, "combine with another type of scores");
  sum_slots(queue_of(ex), rows, scores, scores.columns(), slot_of_pair, y);
}

void combine_gradient(const execution& ex, view dy, view rows, view scores, view slot_of_pair, view drows, view dscores) {
  const index pairs = scores.size(), k = scores.columns(), width = dy.columns();
  if (pairs == 0) return;
  queue& q = queue_of(ex);
  require(scores.type, dy.type, "combine_gradient with another type of scores");
  visit_float("combine_gradient", dy.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_vector<wide<T>>(width, [&](auto v) {
      constexpr int V = decltype(v)::value;
      combine_gradient_kernel<T, V><<<blocks_for(pairs, block_threads / 32), block_threads, 0, q.stream>>>(
          dy.as<const T>(), rows.as<const T>(), rows.rows(), scores.as<const T>(), slot_of_pair.as<const int>(), k, drows.as<T>(),
          dscores.as<T>(), pairs, width);
    }, dy.as<T>(), rows.as<T>(), drows.as<T>());
    launched("combine_gradient");
  });
}

void router_statistics(const execution& ex, view probabilities, view ids, view valid, view counts, view probability_sum) {
  const index rows = probabilities.rows(), experts = probabilities.columns(), k = ids.columns();
  if (experts == 0) return;
  queue& q = queue_of(ex);
  const std::uint8_t* mask = valid.as<const std::uint8_t>();
  if (counts) {
    require(counts.type, dtype::f32, "router_statistics' counts");
    const std::size_t bytes = sizeof(unsigned) * static_cast<std::size_t>(experts);
    const scratch whole(q, bytes);
    check(cudaMemsetAsync(whole.as<void>(), 0, bytes, q.stream), "router_statistics");
    allow_shared(count_choices_kernel, bytes, "router_statistics");
    if (rows * k > 0) {
      count_choices_kernel<<<blocks_for(rows * k, 8 * block_threads, 512), block_threads, bytes, q.stream>>>(
          ids.as<const int>(), mask, rows * k, k, static_cast<int>(experts), whole.as<unsigned>());
      launched("router_statistics");
    }
    counts_as_float_kernel<<<1, block_threads, 0, q.stream>>>(whole.as<unsigned>(), static_cast<int>(experts), counts.as<float>());
    launched("router_statistics");
  }
  if (probability_sum) add_columns(q, probabilities.as<const float>(), rows, experts, mask, probability_sum, false);
}

void router_statistics_gradient(const execution& ex, view probabilities, view valid, view dprobability_sum, view dlogits) {
  const index tokens = probabilities.rows();
  if (tokens == 0) return;
  queue& q = queue_of(ex);
  visit_float("router_statistics_gradient", dlogits.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    statistics_gradient_kernel<T><<<blocks_for(tokens, token_warps, most_blocks), 32 * token_warps, 0, q.stream>>>(
        probabilities.as<const float>(), valid.as<const std::uint8_t>(), dprobability_sum.as<const float>(), dlogits.as<T>(), tokens,
        static_cast<int>(probabilities.columns()));
    launched("router_statistics_gradient");
  });
}

void balance(const execution& ex, view statistics, double factor, view loss) {
  require(statistics.type, dtype::f32, "balance");
  balance_kernel<<<1, block_threads, 0, queue_of(ex).stream>>>(statistics.as<const float>(), statistics.extent[1], factor, loss.as<float>());
  launched("balance");
}
void balance_gradient(const execution& ex, view statistics, double factor, view dloss, view dstatistics) {
  require(statistics.type, dtype::f32, "balance_gradient");
  balance_gradient_kernel<<<1, block_threads, 0, queue_of(ex).stream>>>(statistics.as<const float>(), statistics.extent[1], factor,
                                                                        dloss.as<const float>(), dstatistics.as<float>());
  launched("balance_gradient");
}

}  // namespace plait::inline v0_1::cuda

// Token embedding. The gradient sorts tokens by id, so that every row of the table is added to by one block, in the order of the tokens.
#include "plait/kernels/cuda/counting_sort.cuh"
#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {
namespace {

template <class T, int V>
__global__ void __launch_bounds__(128) embedding_kernel(const std::int64_t* ids, const T* table, index first, index held, index vocabulary,
                                                        T* out, index tokens, index width, unsigned long long* faults) {
  for (index t = blockIdx.x; t < tokens; t += gridDim.x) {
    const index id = ids[t];
    if ((id < 0 || id >= vocabulary) && threadIdx.x == 0) raise(faults, fault::id_out_of_range, t);
    // Compared in this order so that no subtraction can overflow on a wild id.
    const bool here = id >= first && id < vocabulary && id - first < held;
    for (index c = threadIdx.x * V; c < width; c += 128 * V) {
      float a[V] = {};
      if (here) load<V>(table + (id - first) * width + c, a);
      store<V>(out + t * width + c, a);
    }
  }
}

constexpr int digit_bits = 10;

/// Bin of the item: one digit of its key; tokens whose id is not held have the key `held`, the last.
struct digit_key {
  const std::int64_t* ids;
  const int* order;  // null: the tokens' own
  index first, held;
  int shift;
  __device__ int operator()(index i) const {
    const index id = ids[order != nullptr ? order[i] : i];
    const index key = id < first || id < 0 || id - first >= held ? held : id - first;
    return static_cast<int>(key >> shift) & ((1 << digit_bits) - 1);
  }
};
struct order_place {
  const int* order;
  int* sorted;
  __device__ void operator()(index i, int slot) const { sorted[slot] = order != nullptr ? order[i] : static_cast<int>(i); }
};

/// Block (s, column chunk): if the s-th token in order is the first of its id, adds all of that id's rows.
template <class T, class To>
__global__ void __launch_bounds__(128) embedding_gradient_kernel(const std::int64_t* ids, const int* order, const T* dy, To* dtable,
                                                                 index tokens, index width, index first, index held) {
  const index c = static_cast<index>(blockIdx.y) * 128 + threadIdx.x;
  for (index s = blockIdx.x; s < tokens; s += gridDim.x) {
    const index id = ids[order[s]];
    if (id < first || id < 0 || id - first >= held) continue;
    if (s > 0 && ids[order[s - 1]] == id) continue;
    if (c >= width) continue;
    To* const to = dtable + (id - first) * width + c;
    float sum = convert<float>(*to);
    for (index i = s; i < tokens; ++i) {
      const int t = order[i];
      if (ids[t] != id) break;
      sum = convert<float>(convert<To>(sum + convert<float>(dy[static_cast<index>(t) * width + c])));
    }
    *to = convert<To>(sum);
  }
}

}  // namespace

void embedding(const execution& ex, view ids, view table, std::int64_t first, std::int64_t vocabulary, view out) {
  const index tokens = ids.size(), width = table.columns();
  if (tokens == 0) return;
  queue& q = queue_of(ex);
  if (table.type != out.type) unsupported("embedding with another type of output", out.type);
  visit_float("embedding", table.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_vector<wide<T>>(width, [&](auto v) {
      constexpr int V = decltype(v)::value;
      embedding_kernel<T, V><<<blocks_for(tokens, 1), 128, 0, q.stream>>>(reinterpret_cast<const std::int64_t*>(ids.data),
                                                                          table.as<const T>(), first, table.rows(), vocabulary, out.as<T>(),
                                                                          tokens, width, q.faults);
    }, table.as<T>(), out.as<T>());
    launched("embedding");
  });
}

void embedding_gradient(const execution& ex, view ids, view dy, std::int64_t first, view dtable) {
  const index tokens = ids.size(), width = dtable.columns(), held = dtable.rows();
  if (tokens == 0 || width == 0 || held == 0) return;
  queue& q = queue_of(ex);
  const scratch orders(q, sizeof(int) * 2 * static_cast<std::size_t>(tokens));
  int* sorted[2] = {orders.as<int>(), orders.as<int>() + tokens};
  const std::int64_t* id = ids.as<const std::int64_t>();
  const int* order = nullptr;
  int turn = 0;
  for (int shift = 0; shift == 0 || (held >> shift) > 0; shift += digit_bits) {
    counting_sort(q, digit_key{id, order, first, held, shift}, order_place{order, sorted[turn]}, tokens, 1 << digit_bits, nullptr);
    order = sorted[turn];
    turn = 1 - turn;
  }
  visit_float("embedding_gradient", dy.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_float("embedding_gradient", dtable.type, [&](auto to_tag) {
      using To = typename decltype(to_tag)::type;
      embedding_gradient_kernel<T, To><<<dim3(blocks_for(tokens, 1, 65535), blocks_for(width, 128)), 128, 0, q.stream>>>(
          id, order, dy.as<const T>(), dtable.as<To>(), tokens, width, first, held);
      launched("embedding_gradient");
    });
  });
}

}  // namespace plait::inline v0_1::cuda

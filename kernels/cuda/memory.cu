// Copies, fills, casts; the three of them that take host memory.
#include <cmath>
#include <cstring>

#include "plait/kernels/cuda/device.cuh"
#include "plait/kernels/cuda/ops.hpp"

namespace plait::inline v0_1::cuda {

void copy(const execution& ex, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0 || to == from) return;
  queue& q = queue_of(ex);
  const bool from_host = on_host(from), to_host = on_host(to);
  if (from_host && !to_host) return q.upload(to, from, bytes);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, q.stream), "copying");
  if (to_host) q.wait();
}

namespace {

struct box {
  index outer[max_rank], to_step[max_rank], from_step[max_rank];  // dims that are walked, in bytes
  int dims;
  index run;   // contiguous bytes on both sides
  index runs;
};

// A group of threads copies a run at a time, in words of W bytes.
template <class Word>
__global__ void __launch_bounds__(block_threads) box_kernel(char* to, const char* from, box b) {
  const index words = b.run / static_cast<index>(sizeof(Word));
  const index total = words * b.runs, step = static_cast<index>(gridDim.x) * block_threads;
  for (index i = static_cast<index>(blockIdx.x) * block_threads + threadIdx.x; i < total; i += step) {
    index rest = i / words;
    const index word = i - rest * words;
    index to_at = 0, from_at = 0;
    for (int d = b.dims - 1; d >= 0; --d) {
      const index next = rest / b.outer[d], at = rest - next * b.outer[d];
      to_at += at * b.to_step[d];
      from_at += at * b.from_step[d];
      rest = next;
    }
    reinterpret_cast<Word*>(to + to_at)[word] = reinterpret_cast<const Word*>(from + from_at)[word];
  }
}

}  // namespace

void copy_box(const execution& ex, void* to, const std::int64_t* to_extent, const std::int64_t* to_start, const void* from,
              const std::int64_t* from_extent, const std::int64_t* from_start, const std::int64_t* count, int rank, std::size_t element) {
  queue& q = queue_of(ex);
  for (int d = 0; d < rank; ++d)
    if (count[d] <= 0) return;
  if (on_host(from)) {  // all of it goes over, then the box is taken there
    std::size_t bytes = element;
    for (int d = 0; d < rank; ++d) bytes *= static_cast<std::size_t>(from_extent[d]);
    const scratch there(q, bytes);
    q.upload(there.as<void>(), from, bytes);
    return copy_box(ex, to, to_extent, to_start, there.as<void>(), from_extent, from_start, count, rank, element);
  }
  const index size = static_cast<index>(element);
  index to_at = 0, from_at = 0, to_step = size, from_step = size;
  index to_steps[max_rank] = {}, from_steps[max_rank] = {};
  for (int d = rank - 1; d >= 0; --d) {
    to_steps[d] = to_step;
    from_steps[d] = from_step;
    to_at += to_start[d] * to_step;
    from_at += from_start[d] * from_step;
    to_step *= to_extent[d];
    from_step *= from_extent[d];
  }
  box b{};
  b.run = size;
  b.runs = 1;
  int outer = rank;
  while (outer > 0) {
    --outer;
    b.run *= count[outer];
    if (count[outer] != to_extent[outer] || count[outer] != from_extent[outer]) break;
  }
  for (int d = 0; d < outer; ++d) {
    b.outer[b.dims] = count[d];
    b.to_step[b.dims] = to_steps[d];
    b.from_step[b.dims++] = from_steps[d];
    b.runs *= count[d];
  }
  char* target = static_cast<char*>(to) + to_at;
  const char* source = static_cast<const char*>(from) + from_at;
  if (b.runs == 1) {
    check(cudaMemcpyAsync(target, source, static_cast<std::size_t>(b.run), cudaMemcpyDeviceToDevice, q.stream), "copying");
    return;
  }
  auto bits = reinterpret_cast<std::uintptr_t>(target) | reinterpret_cast<std::uintptr_t>(source) | static_cast<std::uintptr_t>(b.run);
  for (int d = 0; d < b.dims; ++d) bits |= static_cast<std::uintptr_t>(b.to_step[d]) | static_cast<std::uintptr_t>(b.from_step[d]);
  const auto launch = [&](auto word) {
    using Word = decltype(word);
    const index words = b.run / static_cast<index>(sizeof(Word)) * b.runs;
    box_kernel<Word><<<blocks_for(words, block_threads, 16ll * q.multiprocessors), block_threads, 0, q.stream>>>(target, source, b);
    launched("copy_box");
  };
  if (bits % 16 == 0) launch(uint4{});
  else if (bits % 4 == 0) launch(std::uint32_t{});
  else if (bits % 2 == 0) launch(std::uint16_t{});
  else launch(std::uint8_t{});
}

namespace {

template <class T>
struct fill_op {
  T* to;
  T value;
  template <int V>
  __device__ void run(index i) const {
    T values[V];
#pragma unroll
    for (int j = 0; j < V; ++j) values[j] = value;
    store<V>(to + i, values);
  }
};

template <class From, class To>
struct cast_op {
  const From* from;
  To* to;
  template <int V>
  __device__ void run(index i) const {
    From values[V];
    load<V>(from + i, values);
    store<V>(to + i, values);
  }
};

}  // namespace

void fill(const execution& ex, view out, double value) {
  const index n = out.size();
  if (n == 0) return;
  queue& q = queue_of(ex);
  if (value == 0 && !std::signbit(value)) {
    check(cudaMemsetAsync(out.data, 0, out.bytes(), q.stream), "filling");
    return;
  }
  visit_any(out.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    each<wide<T>>(q, "fill", n, fill_op<T>{out.as<T>(), convert<T>(value)}, out.as<T>());
  });
}

void cast(const execution& ex, view from, view to) {
  const index n = from.size();
  if (n == 0) return;
  queue& q = queue_of(ex);
  if (from.type == to.type) return copy(ex, to.data, from.data, from.bytes());
  if (on_host(to.data)) {
    const scratch there(q, to.bytes());
    view device = to;
    device.data = there.as<void>();
    cast(ex, from, device);
    return copy(ex, to.data, device.data, to.bytes());
  }
  if (on_host(from.data)) {
    const scratch there(q, from.bytes());
    view device = from;
    device.data = there.as<void>();
    copy(ex, device.data, from.data, from.bytes());
    return cast(ex, device, to);
  }
  visit_any(from.type, [&](auto from_tag) {
    using From = typename decltype(from_tag)::type;
    const auto into = [&](auto to_tag) {
      using To = typename decltype(to_tag)::type;
      each<4>(q, "cast", n, cast_op<From, To>{from.as<const From>(), to.as<To>()}, from.as<const From>(), to.as<To>());
    };
    switch (to.type) {
      case dtype::f32: return into(type_tag<float>{});
      case dtype::f64: return into(type_tag<double>{});
      case dtype::bf16: return into(type_tag<bf16>{});
      default: unsupported("cast", to.type);
    }
  });
}

bool built_for_this_device() {
  cudaFuncAttributes any{};
  const bool found = cudaFuncGetAttributes(&any, box_kernel<char>) == cudaSuccess;
  cudaGetLastError();
  return found;
}

}  // namespace plait::inline v0_1::cuda

// Grouped GEMM on the device against float64: random shapes and counts, poisoned outputs, guarded buffers, NaN in everything that
// must not be read into a result. Usage: grouped_gemm_test [cases] [seed] [first case] [verbose | portable]
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include <cuda_runtime_api.h>

#include "plait/kernels/grouped_gemm.hpp"
#include "plait/kernels/grouped_gemm/reference.hpp"

namespace {

using namespace plait::kernels;

#define CUDA(call)                                                                                    \
  do {                                                                                                \
    const cudaError_t error_ = (call);                                                                \
    if (error_ != cudaSuccess) {                                                                      \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__, cudaGetErrorString(error_));                     \
      std::fflush(stdout);                                                                            \
      std::exit(2);                                                                                   \
    }                                                                                                 \
  } while (0)

struct random_source {
  std::uint64_t state;
  std::uint32_t next() {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<std::uint32_t>(state >> 33);
  }
  int below(int bound) { return static_cast<int>(next() % static_cast<std::uint32_t>(bound)); }
  int between(int low, int high) { return low + below(high - low + 1); }
};

constexpr std::uint16_t poison16 = 0xffff;       // a NaN
constexpr std::uint32_t poison32 = 0xffffffffu;  // a NaN

// Device buffers with guards of 4096 bytes on both sides, all bytes 0xff.
struct buffer {
  char* base = nullptr;
  std::size_t bytes = 0;
  static constexpr std::size_t guard = 4096;
  void resize(std::size_t wanted) {
    bytes = wanted;
    if (capacity < wanted) {
      if (base != nullptr) CUDA(cudaFree(base));
      CUDA(cudaMalloc(reinterpret_cast<void**>(&base), wanted + 2 * guard));
      capacity = wanted;
    }
    CUDA(cudaMemset(base, 0xff, wanted + 2 * guard));
  }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(base + guard);
  }

 private:
  std::size_t capacity = 0;
};

__device__ float normal(std::uint64_t index, std::uint32_t seed) {
  std::uint64_t z = index * 0x9e3779b97f4a7c15ull + (static_cast<std::uint64_t>(seed) << 32) + 0x1234567;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  const float u = (static_cast<float>(z & 0xffffff) + 0.5f) / 16777216.0f;
  const float v = static_cast<float>((z >> 24) & 0xffffff) / 16777216.0f;
  return sqrtf(-2.0f * logf(u)) * cospif(2.0f * v);
}

__device__ std::uint16_t to_bf16(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Blocks of `width` elements; owner[block] < 0 stays poisoned.
__global__ void fill_bf16(std::uint16_t* data, const int* owner, std::size_t count, std::size_t width, std::uint32_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += std::size_t{gridDim.x} * blockDim.x)
    if (owner[i / width] >= 0) data[i] = to_bf16(normal(i, seed));
}

__global__ void fill_f32(float* data, std::size_t count, std::uint32_t seed) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += std::size_t{gridDim.x} * blockDim.x)
    data[i] = normal(i, seed);
}

struct verdict {
  unsigned long long wrong;
  unsigned long long first;
  float worst;
};

__device__ void report(verdict* v, std::size_t index, double error, double bound) {
  if (!(error <= bound)) {
    atomicAdd(&v->wrong, 1ull);
    atomicMin(&v->first, static_cast<unsigned long long>(index));
  } else if (bound > 0) {
    atomicMax(reinterpret_cast<int*>(&v->worst), __float_as_int(static_cast<float>(error / bound)));
  }
}

enum class product { forward, input_gradient };

__global__ void check_rows(product which, const std::uint16_t* got, const std::uint16_t* a, const std::uint16_t* w, const int* owner,
                           int rows, int out, int in, bool in_out, verdict* v) {
  const int columns = which == product::forward ? out : in;
  const int depth = which == product::forward ? in : out;
  const std::size_t count = static_cast<std::size_t>(rows) * columns;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += std::size_t{gridDim.x} * blockDim.x) {
    const int row = static_cast<int>(i / columns);
    const int column = static_cast<int>(i % columns);
    if (owner[row] < 0) {
      report(v, i, got[i] == poison16 ? 0 : 1, 0);
      continue;
    }
    const double want = which == product::forward ? reference::forward(a, w, row, column, owner[row], out, in, in_out)
                                                  : reference::input_gradient(a, w, row, column, owner[row], out, in, in_out);
    report(v, i, fabs(reference::value_of(got[i]) - want), fabs(want) / 256 + 1e-5 * sqrt(static_cast<double>(depth)));
  }
}

__global__ void check_weights(const float* got, const float* before, const std::uint16_t* dy, const std::uint16_t* x,
                              const int* begin, const int* end, int experts, int out, int in, bool in_out, bool accumulate,
                              verdict* v) {
  const std::size_t count = static_cast<std::size_t>(experts) * out * in;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += std::size_t{gridDim.x} * blockDim.x) {
    const int expert = static_cast<int>(i / (static_cast<std::size_t>(out) * in));
    const int rest = static_cast<int>(i % (static_cast<std::size_t>(out) * in));
    const int o = in_out ? rest % out : rest / in;
    const int k = in_out ? rest / out : rest % in;
    const int rows = end[expert] - begin[expert];
    double want = reference::weight_gradient(dy, x, o, k, begin[expert], end[expert], out, in);
    if (accumulate) want += before[i];
    // Tensor cores truncate when they accumulate, so that the error of a long sum grows as its size times its length.
    const double bound = rows == 0 ? 0 : 1e-5 * sqrt(static_cast<double>(rows)) * fmax(1.0, rows / 1500.0) + 4e-6 * fabs(want);
    report(v, i, fabs(static_cast<double>(got[i]) - want), bound);
  }
}

// Guards intact, and equal to a second run bit for bit.
__global__ void check_bits(const std::uint32_t* first, const std::uint32_t* second, std::size_t words, std::size_t guard_words,
                           verdict* v) {
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < words; i += std::size_t{gridDim.x} * blockDim.x) {
    const bool guard = i < guard_words || i >= words - guard_words;
    if (first[i] != second[i] || (guard && first[i] != poison32)) {
      atomicAdd(&v->wrong, 1ull);
      atomicMin(&v->first, static_cast<unsigned long long>(i));
    }
  }
}

struct random_case {
  int experts, in, out, total_rows;
  bool masked, in_out, accumulate;
  std::vector<int> table, begin, end, owner, alive;
};

random_case make_case(random_source& random, int number) {
  random_case c{};
  const int kind = number % 8;
  c.experts = kind == 6 ? random.between(100, 512) : random.between(1, 24);
  const int limit = kind == 6 ? 12 : 80;  // in units of 8
  c.in = 8 * random.between(1, limit);
  c.out = 8 * random.between(1, limit);
  if (kind == 7) c.in = 64 * random.between(1, 6), c.out = 64 * random.between(1, 10);
  c.in_out = random.below(3) == 0;
  c.accumulate = random.below(3) != 0;
  c.masked = number % 5 == 4;
  std::vector<int> counts(c.experts, 0);
  const int hot = random.below(c.experts);
  for (int e = 0; e < c.experts; ++e) {
    switch (kind) {
      case 0: counts[e] = random.below(300); break;
      case 1: counts[e] = random.below(2) == 0 ? 0 : random.between(1, 127); break;      // empty experts, short tails
      case 2: counts[e] = e == hot ? random.between(1, 9000) : 0; break;                 // all rows in one expert
      case 3: counts[e] = 128 * random.below(4) + random.between(1, 127); break;         // every tail
      case 4: counts[e] = 64 * random.below(9); break;                                   // whole slabs
      case 5: counts[e] = random.below(4) == 0 ? random.below(900) : random.below(20); break;
      case 6: counts[e] = random.below(3) == 0 ? random.below(40) : 0; break;
      default: counts[e] = random.between(200, 600); break;
    }
  }
  if (number % 53 == 7) counts.assign(c.experts, 0);
  c.begin.resize(c.experts);
  c.end.resize(c.experts);
  if (c.masked) {
    int capacity = 1;
    for (const int n : counts) capacity = n > capacity ? n : capacity;
    capacity += random.below(20);
    c.total_rows = capacity * c.experts;
    for (int e = 0; e < c.experts; ++e) c.begin[e] = e * capacity, c.end[e] = c.begin[e] + counts[e];
    c.table = counts;
  } else {
    int at = random.below(3) == 0 ? random.below(70) : 0;
    for (int e = 0; e < c.experts; ++e) c.table.push_back(at), c.begin[e] = at, at += counts[e], c.end[e] = at;
    c.table.push_back(at);
    c.total_rows = at + (random.below(3) == 0 ? random.below(70) : 0);
  }
  c.owner.assign(c.total_rows, -1);
  c.alive.assign(c.experts, -1);
  for (int e = 0; e < c.experts; ++e) {
    for (int r = c.begin[e]; r < c.end[e]; ++r) c.owner[r] = e;
    if (counts[e] > 0) c.alive[e] = e;
  }
  return c;
}

template <class T>
T* upload(buffer& to, const std::vector<T>& from) {
  to.resize(from.size() * sizeof(T) + 16);
  if (!from.empty()) CUDA(cudaMemcpy(to.as<T>(), from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice));
  return to.as<T>();
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 600;
  const auto seed = static_cast<std::uint64_t>(argc > 2 ? std::atoll(argv[2]) : 1);
  const bool verbose = argc > 4 && std::string_view(argv[4]) == "verbose";
  const bool portable = argc > 4 && std::string_view(argv[4]) == "portable";  // that kernel alone
  const int first_case = argc > 3 ? std::atoi(argv[3]) : 0;
  buffer x, dy, w, y, y2, dw, dw2, before, table, begin, end, owner, alive, verdicts;
  unsigned* queue = nullptr;
  CUDA(cudaMalloc(reinterpret_cast<void**>(&queue), queue_words * sizeof(unsigned)));
  CUDA(cudaMemset(queue, 0, queue_words * sizeof(unsigned)));
  int passed = 0;
  int failed = 0;
  float worst[3] = {0, 0, 0};
  const char* names[3] = {"forward", "input gradient", "weight gradient"};
  for (int number = 0; number < cases; ++number) {
    random_source random{seed * 1000003u + static_cast<std::uint64_t>(number)};
    for (int i = 0; i < 8; ++i) random.next();
    const random_case c = make_case(random, number);
    if (number < first_case) continue;
    const auto rows = static_cast<std::size_t>(c.total_rows);
    const auto weights = static_cast<std::size_t>(c.experts) * c.out * c.in;
    const int* owners = upload(owner, c.owner);
    const int* living = upload(alive, c.alive);
    const int* begins = upload(begin, c.begin);
    const int* ends = upload(end, c.end);
    const int* device_table = upload(table, c.table);
    x.resize(rows * c.in * 2);
    dy.resize(rows * c.out * 2);
    w.resize(weights * 2);
    const auto salt = static_cast<std::uint32_t>(number * 8 + 1);
    fill_bf16<<<264, 256>>>(x.as<std::uint16_t>(), owners, rows * c.in, c.in, salt);
    fill_bf16<<<264, 256>>>(dy.as<std::uint16_t>(), owners, rows * c.out, c.out, salt + 1);
    fill_bf16<<<264, 256>>>(w.as<std::uint16_t>(), living, weights, static_cast<std::size_t>(c.out) * c.in, salt + 2);
    before.resize(weights * 4);
    fill_f32<<<264, 256>>>(before.as<float>(), weights, salt + 3);
    CUDA(cudaGetLastError());
    CUDA(cudaDeviceSynchronize());

    grouped_gemm_shape shape;
    int largest = 0;
    for (int e = 0; e < c.experts; ++e) largest = c.end[e] - c.begin[e] > largest ? c.end[e] - c.begin[e] : largest;
    shape.layout = c.masked ? expert_layout::masked(device_table, c.experts, c.total_rows / c.experts)
                            : expert_layout::contiguous(device_table, c.experts);
    shape.total_rows = c.total_rows;
    shape.queue = number % 3 != 0 ? queue : nullptr;
    shape.in = c.in;
    shape.out = c.out;
    shape.weights = c.in_out ? weight_layout::in_out : weight_layout::out_in;

    for (int op = 0; op < 3; ++op) {
      if (verbose) {
        std::printf("case %d op %d: experts %d rows %d largest %d in %d out %d%s%s%s%s\n", number, op, c.experts, c.total_rows, largest,
                    c.in, c.out, c.masked ? " masked" : "", c.in_out ? " in_out" : "", c.accumulate ? " accumulate" : "",
                    shape.queue != nullptr ? " queue" : "");
        std::fflush(stdout);
      }
      constexpr int row_tiles = static_cast<int>(tile_choice::ping_pong_128) + 1;
      tile_choice tile = static_cast<tile_choice>((number / 8 + number) % row_tiles);
      if (op == 2) tile = number % 2 == 0 ? tile_choice::ping_pong_192_update : tile_choice::ping_pong_192_add;
      if (portable || number % 9 == 8) tile = tile_choice::portable;
      const std::size_t bytes = op == 0 ? rows * c.out * 2 : op == 1 ? rows * c.in * 2 : weights * 4;
      buffer* outputs[2] = {op == 2 ? &dw : &y, op == 2 ? &dw2 : &y2};
      const char* wrong = nullptr;
      for (buffer* to : outputs) {
        to->resize((bytes + 3) / 4 * 4);
        if (op == 2 && c.accumulate) CUDA(cudaMemcpy(to->as<float>(), before.as<float>(), bytes, cudaMemcpyDeviceToDevice));
        if (op == 0) wrong = grouped_forward(shape, x.as<void>(), w.as<void>(), to->as<void>(), nullptr, tile);
        if (op == 1) wrong = grouped_input_gradient(shape, dy.as<void>(), w.as<void>(), to->as<void>(), nullptr, tile);
        if (op == 2)
          wrong = grouped_weight_gradient(shape, dy.as<void>(), x.as<void>(), to->as<float>(), c.accumulate, nullptr, tile);
        if (wrong != nullptr) break;
        CUDA(cudaGetLastError());
      }
      verdict host{};
      verdict bits{};
      cudaError_t error = cudaDeviceSynchronize();
      if (wrong == nullptr && error == cudaSuccess) {
        verdicts.resize(2 * sizeof(verdict));
        const verdict empty{0, ~0ull, 0};
        auto* device = verdicts.as<verdict>();
        CUDA(cudaMemcpy(device, &empty, sizeof empty, cudaMemcpyHostToDevice));
        CUDA(cudaMemcpy(device + 1, &empty, sizeof empty, cudaMemcpyHostToDevice));
        if (op == 2) {
          check_weights<<<1056, 128>>>(dw.as<float>(), before.as<float>(), dy.as<std::uint16_t>(), x.as<std::uint16_t>(), begins, ends,
                                      c.experts, c.out, c.in, c.in_out, c.accumulate, device);
        } else {
          check_rows<<<1056, 128>>>(op == 0 ? product::forward : product::input_gradient, y.as<std::uint16_t>(),
                                   op == 0 ? x.as<std::uint16_t>() : dy.as<std::uint16_t>(), w.as<std::uint16_t>(), owners,
                                   c.total_rows, c.out, c.in, c.in_out, device);
        }
        check_bits<<<264, 256>>>(reinterpret_cast<std::uint32_t*>(outputs[0]->base), reinterpret_cast<std::uint32_t*>(outputs[1]->base),
                                 (outputs[0]->bytes + 2 * buffer::guard) / 4, buffer::guard / 4, device + 1);
        CUDA(cudaGetLastError());
        error = cudaDeviceSynchronize();
        if (error == cudaSuccess) {
          CUDA(cudaMemcpy(&host, device, sizeof host, cudaMemcpyDeviceToHost));
          CUDA(cudaMemcpy(&bits, device + 1, sizeof bits, cudaMemcpyDeviceToHost));
        }
      }
      const bool good = wrong == nullptr && error == cudaSuccess && host.wrong == 0 && bits.wrong == 0;
      good ? ++passed : ++failed;
      if (host.worst > worst[op]) worst[op] = host.worst;
      if (!good && failed <= 40) {
        std::printf("FAIL case %d %s tile %d: experts %d rows %d largest %d in %d out %d%s%s%s: %s, %llu wrong from %llu, bits %llu from %llu\n",
                    number, names[op], static_cast<int>(tile), c.experts, c.total_rows, largest, c.in, c.out,
                    c.masked ? " masked" : "", c.in_out ? " in_out" : "", c.accumulate ? " accumulate" : "",
                    wrong != nullptr ? wrong : cudaGetErrorString(error), host.wrong, host.first, bits.wrong, bits.first);
        std::fflush(stdout);
      }
      if (error != cudaSuccess) {
        std::printf("%d passed, %d failed, stopped: the device is lost\n", passed, failed);
        return 1;
      }
    }
  }
  std::printf("largest error over its bound: forward %.3f, input gradient %.3f, weight gradient %.3f\n", worst[0], worst[1], worst[2]);
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

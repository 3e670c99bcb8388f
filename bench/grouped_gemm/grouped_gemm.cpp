// Grouped GEMM beside the best of cuBLASLt's first eight heuristics on one dense product of equal FLOPs, and beside the bytes it must
// move at the measured copy bandwidth. Interleaved, rotated random inputs, medians.
// Usage: grouped_gemm [--shapes a,b] [--spread balanced,zipf,one-hot] [--repeats 20] [--tiles] [--dense 8]
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <time.h>

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "plait/kernels/grouped_gemm.hpp"

// fill.cu: normal random bfloat16
void fill_normal(std::uint16_t* data, std::size_t count, std::uint64_t seed);

namespace {

using namespace plait::kernels;

#define CUDA(call)                                                                            \
  do {                                                                                        \
    const auto error_ = (call);                                                               \
    if (error_ != 0) {                                                                        \
      std::printf("%s:%d: error %d\n", __FILE__, __LINE__, static_cast<int>(error_));         \
      std::fflush(stdout);                                                                    \
      std::exit(2);                                                                           \
    }                                                                                         \
  } while (0)

struct model {
  const char* name;
  int experts, tokens, top_k, hidden, intermediate, divide;
  const char* kind;
};

constexpr model models[] = {
    {"mixtral-8x7b", 8, 8192, 2, 4096, 14336, 1, "large"},
    {"qwen3-30b-a3b", 128, 16384, 8, 2048, 768, 1, "large"},
    {"qwen3-235b-a22b", 128, 8192, 8, 4096, 1536, 1, "large"},
    {"olmoe-1b-7b", 64, 16384, 8, 2048, 1024, 1, "large"},
    {"deepseek-v3-ep8", 32, 8192, 8, 7168, 2048, 8, "deepseek"},
    {"gpt-oss-20b", 32, 8192, 4, 2880, 2880, 1, "large"},
    {"mixtral-small-batch", 8, 512, 2, 4096, 14336, 1, "small"},
    {"qwen3-30b-small-batch", 128, 512, 8, 2048, 768, 1, "small"},
};

// One arena, carved anew for every case.
struct arena {
  char* base = nullptr;
  std::size_t size = 0, used = 0;
  template <class T>
  T* take(std::size_t count) {
    used = (used + 1023) / 1024 * 1024;
    auto* at = reinterpret_cast<T*>(base + used);
    used += count * sizeof(T);
    if (used > size) std::printf("arena of %zu bytes is too small\n", size), std::exit(2);
    return at;
  }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

std::vector<int> spread_rows(const std::string& spread, int experts, int rows) {
  std::vector<int> counts(static_cast<std::size_t>(experts), 0);
  if (spread == "balanced") {
    for (auto& c : counts) c = rows / experts;
  } else if (spread == "zipf") {  // popularity 1 / rank^0.7, shuffled
    std::vector<double> weight;
    double sum = 0;
    for (int e = 0; e < experts; ++e) weight.push_back(std::pow(1.0 / (e + 1), 0.7)), sum += weight.back();
    std::uint64_t state = 12345;
    for (int e = experts - 1; e > 0; --e) {
      state = state * 6364136223846793005ull + 1442695040888963407ull;
      std::swap(weight[e], weight[(state >> 33) % static_cast<unsigned>(e + 1)]);
    }
    int left = rows;
    for (int e = 0; e < experts; ++e) counts[e] = static_cast<int>(weight[e] / sum * rows), left -= counts[e];
    counts[0] += left;
  } else {
    counts[static_cast<std::size_t>(experts) / 2] = rows;
  }
  return counts;
}

struct dense_product {
  cublasLtHandle_t handle{};
  void* workspace = nullptr;
  static constexpr std::size_t workspace_bytes = 64u << 20;
  cublasLtMatmulDesc_t operation{};
  cublasLtMatrixLayout_t a{}, b{}, d{};
  std::vector<cublasLtMatmulHeuristicResult_t> found;

  // y[rows, n] = x[rows, k] * w[n, k] transposed, row major
  void plan(int rows, int n, int k, int count) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    CUDA(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CUDA(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
    CUDA(cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, k, n, k));
    CUDA(cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, k, rows, k));
    CUDA(cublasLtMatrixLayoutCreate(&d, CUDA_R_16BF, n, rows, n));
    cublasLtMatmulPreference_t preference{};
    CUDA(cublasLtMatmulPreferenceCreate(&preference));
    CUDA(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                              sizeof workspace_bytes));
    found.resize(static_cast<std::size_t>(count));
    int got = 0;
    CUDA(cublasLtMatmulAlgoGetHeuristic(handle, operation, a, b, d, d, preference, count, found.data(), &got));
    found.resize(static_cast<std::size_t>(got));
    CUDA(cublasLtMatmulPreferenceDestroy(preference));
  }
  void run(int choice, const void* x, const void* w, void* y) {
    const float one = 1, zero = 0;
    CUDA(cublasLtMatmul(handle, operation, &one, w, a, x, b, &zero, y, d, y, d, &found[choice].algo, workspace, workspace_bytes, nullptr));
  }
  void forget() {
    CUDA(cublasLtMatrixLayoutDestroy(a));
    CUDA(cublasLtMatrixLayoutDestroy(b));
    CUDA(cublasLtMatrixLayoutDestroy(d));
    CUDA(cublasLtMatmulDescDestroy(operation));
  }
};

struct mean {
  double log_sum = 0;
  int count = 0;
};

void add(mean& m, double ratio) {
  m.log_sum += std::log(ratio);
  ++m.count;
}

struct runner {
  int product;
  tile_choice tile;
  std::vector<double> ms;
};

constexpr const char* spread_names[] = {"balanced", "zipf", "one-hot"};

bool listed(const std::string& list, const std::string& name) { return list.empty() || ("," + list + ",").find("," + name + ",") != std::string::npos; }

}  // namespace

int main(int argc, char** argv) {
  std::string shapes, spreads, only;
  int repeats = 20;
  int heuristics = 8;
  bool tiles = false;
  bool fixed = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--shapes" && i + 1 < argc) shapes = argv[++i];
    else if (option == "--spread" && i + 1 < argc) spreads = argv[++i];
    else if (option == "--repeats" && i + 1 < argc) repeats = std::atoi(argv[++i]);
    else if (option == "--dense" && i + 1 < argc) heuristics = std::atoi(argv[++i]);
    else if (option == "--products" && i + 1 < argc) only = argv[++i];
    else if (option == "--tiles") tiles = true;
    else if (option == "--fixed") fixed = true;
  }
  cudaDeviceProp device{};
  CUDA(cudaGetDeviceProperties(&device, 0));
  std::printf("%s, %d multiprocessors\n", device.name, device.multiProcessorCount);

  arena memory;
  memory.size = std::size_t{60} << 30;
  CUDA(cudaMalloc(reinterpret_cast<void**>(&memory.base), memory.size));
  cudaEvent_t start, stop;
  CUDA(cudaEventCreate(&start));
  CUDA(cudaEventCreate(&stop));
  const auto time_of = [&](auto&& work) {
    CUDA(cudaEventRecord(start));
    work();
    CUDA(cudaEventRecord(stop));
    CUDA(cudaEventSynchronize(stop));
    float ms = 0;
    CUDA(cudaEventElapsedTime(&ms, start, stop));
    return static_cast<double>(ms);
  };
  fill_normal(reinterpret_cast<std::uint16_t*>(memory.base), std::size_t{2} << 30, 99);
  std::vector<double> copies;
  for (int i = 0; i < 12; ++i)
    copies.push_back(time_of([&] { CUDA(cudaMemcpyAsync(memory.base + (std::size_t{8} << 30), memory.base, std::size_t{2} << 30, cudaMemcpyDeviceToDevice)); }));
  const double bandwidth = 2.0 * 2147483648.0 / median(copies) / 1e9;  // TB/s, read and written
  std::printf("copy %.2f TB/s (read + written)\n", bandwidth);

  unsigned* queue = nullptr;
  CUDA(cudaMalloc(reinterpret_cast<void**>(&queue), queue_words * sizeof(unsigned)));
  CUDA(cudaMemset(queue, 0, queue_words * sizeof(unsigned)));
  std::uint64_t shuffle = 7;
  dense_product dense;
  CUDA(cublasLtCreate(&dense.handle));
  CUDA(cudaMalloc(&dense.workspace, dense_product::workspace_bytes));
  const char* tile_names[] = {"auto", "c256", "c192", "p192", "p128", "update", "add", "portable"};
  const char* product_names[] = {"fwd", "dgrad", "wgrad"};
  std::map<std::string, mean> to_dense, to_bound;

  for (const auto& m : models) {
    if (!listed(shapes, m.name)) continue;
    for (const int projection : {0, 1}) {
      const int rows = m.tokens * m.top_k / m.divide;
      const int in = projection == 0 ? m.hidden : m.intermediate;
      const int out = projection == 0 ? 2 * m.intermediate : m.hidden;
      const double flops = 2.0 * rows * in * out;
      memory.used = 0;
      constexpr int sets = 2;
      std::uint16_t *x[sets], *w[sets], *dy[sets];
      const auto weights = static_cast<std::size_t>(m.experts) * in * out;
      for (int s = 0; s < sets; ++s) {
        x[s] = memory.take<std::uint16_t>(static_cast<std::size_t>(rows) * in);
        w[s] = memory.take<std::uint16_t>(weights);
        dy[s] = memory.take<std::uint16_t>(static_cast<std::size_t>(rows) * out);
        fill_normal(x[s], static_cast<std::size_t>(rows) * in, 11 + s);
        fill_normal(w[s], weights, 22 + s);
        fill_normal(dy[s], static_cast<std::size_t>(rows) * out, 33 + s);
      }
      auto* y = memory.take<std::uint16_t>(static_cast<std::size_t>(rows) * std::max(in, out));
      auto* dw = memory.take<float>(weights);
      int* offsets = memory.take<int>(1024);
      CUDA(cudaMemset(dw, 0, weights * 4));

      dense.plan(rows, out, in, heuristics);
      int best = 0;
      double best_ms = 1e30;
      for (int choice = 0; choice < static_cast<int>(dense.found.size()); ++choice) {
        std::vector<double> ms;
        for (int i = 0; i < 6; ++i) {
          const double t = time_of([&] { dense.run(choice, x[i % sets], w[i % sets], y); });
          if (i >= 2) ms.push_back(t);
        }
        if (median(ms) < best_ms) best_ms = median(ms), best = choice;
      }

      for (const char* spread_name : spread_names) {
        const std::string spread = spread_name;
        if (!listed(spreads, spread)) continue;
        const auto counts = spread_rows(spread, m.experts, rows);
        std::vector<int> table{0};
        int alive = 0;
        for (const int c : counts) table.push_back(table.back() + c), alive += c > 0 ? 1 : 0;
        CUDA(cudaMemcpy(offsets, table.data(), table.size() * sizeof(int), cudaMemcpyHostToDevice));
        grouped_gemm_shape shape;
        shape.layout = expert_layout::contiguous(offsets, m.experts);
        shape.total_rows = rows;
        shape.queue = fixed ? nullptr : queue;
        shape.in = in;
        shape.out = out;

        std::vector<runner> runners;
        for (int product = 0; product < 3; ++product) {
          if (!listed(only, product_names[product])) continue;
          for (int tile = tiles ? 1 : 0; tile < (tiles ? static_cast<int>(tile_choice::count) : 1); ++tile) {
            const bool any = static_cast<tile_choice>(tile) == tile_choice::portable;
            if (tile != 0 && !any && (product == 2) != (tile >= static_cast<int>(tile_choice::ping_pong_192_update))) continue;
            runners.push_back({product, static_cast<tile_choice>(tile), {}});
          }
        }
        std::vector<double> dense_ms;
        // A fresh order every time, so that nobody always follows the same neighbour (and its effect on power and clocks).
        std::vector<int> order;
        for (int j = -1; j < static_cast<int>(runners.size()); ++j) order.push_back(j);
        for (int i = -2; i < repeats; ++i) {
          const int s = (i + 2) % sets;
          for (std::size_t j = order.size() - 1; j > 0; --j) {
            shuffle = shuffle * 6364136223846793005ull + 1442695040888963407ull;
            std::swap(order[j], order[(shuffle >> 33) % (j + 1)]);
          }
          for (const int who : order) {
            if (who < 0) {
              const double t = time_of([&] { dense.run(best, x[s], w[s], y); });
              if (i >= 0) dense_ms.push_back(t);
              continue;
            }
            runner& r = runners[static_cast<std::size_t>(who)];
            const char* wrong = nullptr;
            const double t = time_of([&] {
              if (r.product == 0) wrong = grouped_forward(shape, x[s], w[s], y, nullptr, r.tile);
              if (r.product == 1) wrong = grouped_input_gradient(shape, dy[s], w[s], y, nullptr, r.tile);
              if (r.product == 2) wrong = grouped_weight_gradient(shape, dy[s], x[s], dw, true, nullptr, r.tile);
            });
            if (wrong != nullptr) std::printf("%s\n", wrong), std::exit(2);
            if (i >= 0) r.ms.push_back(t);
          }
        }
        const double dense_median = median(dense_ms);
        std::printf("%-21s %-7s %-8s dense %4.0f |", m.name, projection == 0 ? "gate_up" : "down", spread.c_str(), flops / dense_median / 1e9);
        for (const auto& r : runners) {
          const double ms = median(r.ms);
          const double moved = r.product == 2 ? 2.0 * rows * (in + out) + 8.0 * alive * in * out
                                              : 2.0 * rows * (in + out) + 2.0 * alive * in * out;
          const double bound = std::max(dense_median, moved / bandwidth / 1e9);
          std::printf(" %s", product_names[r.product]);
          if (tiles) std::printf(".%s", tile_names[static_cast<int>(r.tile)]);
          std::printf(" %4.0f %.3f/%.3f", flops / ms / 1e9, dense_median / ms, bound / ms);
          std::string key = product_names[r.product];
          if (tiles) key += std::string(".") + tile_names[static_cast<int>(r.tile)];
          key += " " + spread + " " + m.kind;
          add(to_dense[key], dense_median / ms);
          add(to_bound[key], bound / ms);
        }
        std::printf("\n");
        std::fflush(stdout);
      }
      dense.forget();
    }
  }
  {  // launch cost: a tiny product, as a stream of calls and as a graph
    memory.used = 0;
    constexpr int experts = 8, rows = 256, width = 256, calls = 200;
    auto* x = memory.take<std::uint16_t>(rows * width);
    auto* w = memory.take<std::uint16_t>(experts * width * width);
    auto* y = memory.take<std::uint16_t>(rows * width);
    int* offsets = memory.take<int>(experts + 1);
    std::vector<int> table;
    for (int e = 0; e <= experts; ++e) table.push_back(e * rows / experts);
    CUDA(cudaMemcpy(offsets, table.data(), table.size() * sizeof(int), cudaMemcpyHostToDevice));
    grouped_gemm_shape shape;
    shape.layout = expert_layout::contiguous(offsets, experts);
    shape.total_rows = rows;
    shape.in = width;
    shape.out = width;
    shape.queue = queue;
    cudaStream_t stream{};
    CUDA(cudaStreamCreate(&stream));
    const auto burst = [&] {
      for (int i = 0; i < calls; ++i) {
        if (const char* wrong = grouped_forward(shape, x, w, y, stream)) std::printf("%s\n", wrong), std::exit(2);
      }
    };
    const auto time_on_stream = [&](auto&& work) {
      CUDA(cudaEventRecord(start, stream));
      work();
      CUDA(cudaEventRecord(stop, stream));
      CUDA(cudaEventSynchronize(stop));
      float ms = 0;
      CUDA(cudaEventElapsedTime(&ms, start, stop));
      return 1000.0 * static_cast<double>(ms) / calls;
    };
    cudaGraph_t graph{};
    cudaGraphExec_t replay{};
    CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    burst();
    CUDA(cudaStreamEndCapture(stream, &graph));
    CUDA(cudaGraphInstantiate(&replay, graph, 0));
    std::vector<double> plain, captured, host;
    for (int i = 0; i < 12; ++i) {
      plain.push_back(time_on_stream(burst));
      captured.push_back(time_on_stream([&] { CUDA(cudaGraphLaunch(replay, stream)); }));
      timespec a{}, b{};
      clock_gettime(CLOCK_MONOTONIC, &a);
      burst();
      clock_gettime(CLOCK_MONOTONIC, &b);
      CUDA(cudaStreamSynchronize(stream));
      host.push_back((static_cast<double>(b.tv_sec - a.tv_sec) * 1e6 + static_cast<double>(b.tv_nsec - a.tv_nsec) / 1e3) / calls);
    }
    std::printf("a tiny product: %.2f us a call in a stream of calls, %.2f us in a graph, %.2f us of the host\n", median(plain),
                median(captured), median(host));
  }
  std::printf("geometric means: product spread shapes: to dense, to max(dense, bytes / copy)\n");
  for (const auto& [key, value] : to_dense)
    std::printf("  %-28s %.3f %.3f\n", key.c_str(), std::exp(value.log_sum / value.count), std::exp(to_bound[key].log_sum / value.count));
  return 0;
}

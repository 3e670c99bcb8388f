// Collectives between rank threads: microseconds a call by kind, ranks and elements. The cost of the embedded communicator, not of a
// network: on few cores most of it is waking threads.
#include <benchmark/benchmark.h>

#include <chrono>

#include "plait/comm/rank_threads.hpp"
#include "plait/cpu/backend.hpp"

namespace {

using namespace plait;

void run(benchmark::State& state, collective_kind kind, bool check) {
  const int ranks = static_cast<int>(state.range(0));
  const std::int64_t count = state.range(1);
  constexpr int calls = 50;
  mesh_shape mesh;
  mesh.atoms = 1;
  mesh.size[0] = ranks;
  for (auto _ : state) {
    double seconds = 0;
    run_ranks(
        mesh, cpu_backend(),
        [&](context& c) {
          const std::int64_t n = c.mesh.size[0];
          std::vector<float> in(static_cast<std::size_t>(kind == collective_kind::reduce_scatter ? n * count : count), 1.0f);
          std::vector<float> out(static_cast<std::size_t>(kind == collective_kind::all_gather ? n * count : count));
          any_communicator& group = c.group(1);
          const auto one = [&] { group.wait(group.start({kind, in.data(), out.data(), count, dtype::f32})); };
          one();
          const auto before = std::chrono::steady_clock::now();
          for (int i = 0; i < calls; ++i) one();
          if (c.rank == 0) seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
        },
        rank_options{check});
    state.SetIterationTime(seconds / calls);
  }
  state.SetBytesProcessed(state.iterations() * count * 4);
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int ranks : {2, 4, 16, 64})
    for (const int count : {64, 65536}) b->Args({ranks, count});
  b->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(5);
}

}  // namespace

BENCHMARK_CAPTURE(run, all_reduce, collective_kind::all_reduce, false)->Apply(sizes);
BENCHMARK_CAPTURE(run, all_reduce_checked, collective_kind::all_reduce, true)->Apply(sizes);
BENCHMARK_CAPTURE(run, all_gather, collective_kind::all_gather, false)->Apply(sizes);
BENCHMARK_CAPTURE(run, reduce_scatter, collective_kind::reduce_scatter, false)->Apply(sizes);
BENCHMARK_MAIN();

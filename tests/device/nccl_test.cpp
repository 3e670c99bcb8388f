// Ranks as threads with a GPU each, collectives through NCCL: the same bits as threads of the CPU backend, failures that release the
// others, and what a collective costs. Skipped (77) where there are fewer than two GPUs.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>

#include "plait/comm/rank_threads.hpp"
#include "plait/kernels/cuda_backend.hpp"
#include "plait/kernels/nccl.hpp"
#include "support/collectives.hpp"
#include "support/cpu_backend.hpp"

using namespace plait;

namespace {

mesh_shape line(int n) {
  mesh_shape m;
  m.atoms = 1;
  m.size[0] = n;
  return m;
}
double seconds_of(auto body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}
template <class Body>
void on_gpus(const mesh_shape& mesh, Body body, nccl_options options = {}) {
  const std::unique_ptr<rank_fabric> fabric = nccl_threads(mesh, options);
  run_ranks_over(*fabric, mesh, cuda_backend(), 0, mesh.ranks(), body);
}
int ranks() { return gpu_count() >= 4 ? 4 : 2; }

}  // namespace

TEST_CASE("nccl: collectives of every kind equal the CPU's ranks as threads bit for bit, twice") {
  std::vector<mesh_shape> meshes{line(2), line(ranks())};
  if (ranks() == 4) {
    meshes.push_back(line(2));
    meshes.back().atoms = 2;
    meshes.back().size[1] = 2;
  }
  for (const mesh_shape& mesh : meshes)
    for (const std::uint32_t most : {70u, 60000u}) {
      const int rounds = most > 100 ? 12 : 40;
      const auto n = static_cast<std::size_t>(mesh.ranks());
      std::vector<std::vector<char>> cpu(n), gpu(n);
      run_ranks(mesh, test_backend(), [&](context& c) { cpu[static_cast<std::size_t>(c.rank)] = collective_workout(c, rounds, most); });
      for (int run = 0; run < 2; ++run) {
        on_gpus(mesh, [&](context& c) { gpu[static_cast<std::size_t>(c.rank)] = collective_workout(c, rounds, most); });
        for (std::size_t r = 0; r < n; ++r) {
          CHECK(cpu[r].size() > 1000);
          CHECK(cpu[r] == gpu[r]);
        }
      }
    }
}

TEST_CASE("nccl: communicators come and go, several a rank, some ranks ahead of others") {
  mesh_shape mesh = line(2);
  mesh.atoms = 3;
  mesh.size[1] = ranks() / 2;
  mesh.size[2] = 1;
  const auto n = static_cast<std::size_t>(mesh.ranks());
  std::vector<std::vector<float>> sums(n);
  for (int round = 0; round < 12; ++round) {
    on_gpus(mesh, [&](context& c) {
      std::vector<float>& mine = sums[static_cast<std::size_t>(c.rank)];
      mine.clear();
      for (const std::uint32_t mask : {1u, 3u, 5u, 7u}) {
        const std::shared_ptr<buffer> x = c.allocate(1 << 12);
        const float value = static_cast<float>(c.rank + 1);
        if (c.rank % 2 == round % 2) std::this_thread::sleep_for(std::chrono::milliseconds(round));
        c.ops->copy(c.exec, x->data(), &value, 4);
        collective call{collective_kind::all_reduce, x->data(), x->data(), 1, dtype::f32};
        call.queue = &c.exec;
        c.group(mask).wait(c.group(mask).start(call));
        mine.push_back(0);
        c.ops->copy(c.exec, &mine.back(), x->data(), 4);
      }
    });
    for (std::size_t r = 0; r < n; ++r) {
      const float all = static_cast<float>(n * (n + 1) / 2), pair = n == 2 ? 3 : r % 2 == 0 ? 4 : 6;  // ranks 0 and 2, 1 and 3
      CHECK(sums[r] == std::vector<float>{pair, all, pair, all});
    }
  }
}

TEST_CASE("nccl: send and receive, both ways at once") {
  const int n = ranks();
  std::atomic<int> wrong{0};
  on_gpus(line(n), [&](context& c) {
    const std::int64_t count = 1 << 22;
    any_communicator& group = c.group(1);
    const std::shared_ptr<buffer> out = c.allocate(count * 4), in = c.allocate(count * 4);
    std::vector<float> values(count, static_cast<float>(c.rank));
    c.ops->copy(c.exec, out->data(), values.data(), count * 4);
    collective send{collective_kind::send, out->data(), nullptr, count, dtype::f32, false, (c.rank + 1) % n};
    collective receive{collective_kind::receive, nullptr, in->data(), count, dtype::f32, false, (c.rank + n - 1) % n};
    send.queue = receive.queue = &c.exec;
    const ticket s = group.start(send), r = group.start(receive);
    group.wait(s);
    group.wait(r);
    c.ops->copy(c.exec, values.data(), in->data(), count * 4);
    for (const float v : values) wrong += v != static_cast<float>((c.rank + n - 1) % n);
  });
  CHECK(wrong == 0);
}

TEST_CASE("nccl: an exception on one rank releases the others, wherever they are") {
  for (const int steps : {0, 1, 5}) {
    std::string said;
    const double took = seconds_of([&] {
      try {
        on_gpus(line(2), [&](context& c) {
          any_communicator& group = c.group(1);
          const std::shared_ptr<buffer> x = c.allocate(1 << 20);
          for (int step = 0; step < 10; ++step) {
            if (c.rank == 1 && step == steps) throw std::runtime_error("mishap");
            collective call{collective_kind::all_reduce, x->data(), x->data(), 1 << 18, dtype::f32};
            call.queue = &c.exec;
            group.wait(group.start(call));
            float first = 0;
            c.ops->copy(c.exec, &first, x->data(), 4);
          }
        });
      } catch (const std::exception& e) {
        said = e.what();
      }
    });
    CHECK(said == "mishap");
    CHECK(took < 20);
    MESSAGE("released after ", took, " s");
  }
}

TEST_CASE("nccl: a rank that does not come is a deadline's error") {
  nccl_options options;
  options.limit = 3;
  std::string said;
  const double took = seconds_of([&] {
    try {
      on_gpus(
          line(2),
          [&](context& c) {
            any_communicator& group = c.group(1);
            const std::shared_ptr<buffer> x = c.allocate(1 << 20);
            collective call{collective_kind::all_reduce, x->data(), x->data(), 1 << 18, dtype::f32};
            call.queue = &c.exec;
            call.where = "somewhere";
            group.wait(group.start(call));
            c.ops->read_faults(c.exec);
            if (c.rank == 1) std::this_thread::sleep_for(std::chrono::seconds(8));
            group.wait(group.start(call));
            c.ops->read_faults(c.exec);
          },
          options);
    } catch (const std::exception& e) {
      said = e.what();
    }
  });
  INFO(said);
  CHECK(said.find("rank 0 has waited 3 s in all_reduce of 262144 f32 at 'somewhere'") != std::string::npos);
  CHECK(took < 25);
}

TEST_CASE("nccl: what it costs") {
  for (const nccl_sums sums : {nccl_sums::rank_order, nccl_sums::library}) {
    nccl_options options;
    options.sums = sums;
    const int n = ranks();
    on_gpus(
        line(n),
        [&](context& c) {
          any_communicator& group = c.group(1);
          for (const collective_kind kind : {collective_kind::all_reduce, collective_kind::reduce_scatter, collective_kind::all_gather, collective_kind::all_to_all})
            for (const std::int64_t count : {std::int64_t{1} << 12, std::int64_t{1} << 20, std::int64_t{1} << 26}) {
              if (sums == nccl_sums::library && kind != collective_kind::all_reduce && kind != collective_kind::reduce_scatter) continue;
              const std::int64_t block = kind == collective_kind::all_reduce ? count : count / n;
              const std::shared_ptr<buffer> in = c.allocate(static_cast<std::size_t>(count) * 4), out = c.allocate(static_cast<std::size_t>(count) * 4);
              collective call{kind, in->data(), out->data(), block, dtype::f32};
              call.queue = &c.exec;
              const auto run = [&](int times) {
                return seconds_of([&] {
                  for (int i = 0; i < times; ++i) group.wait(group.start(call));
                  c.ops->read_faults(c.exec);
                });
              };
              run(5);
              const int times = count > (1 << 22) ? 20 : 200;
              const double took = run(times) / times;
              if (c.rank == 0)
                std::printf("%-10s %-14s %8.3f MB: %9.1f us, %6.1f GB/s\n", sums == nccl_sums::library ? "library" : "rank order", name_of(kind),
                            static_cast<double>(count) * 4e-6, took * 1e6, static_cast<double>(count) * 4e-9 / took);
            }
        },
        options);
  }
}

int main(int argc, char** argv) {
  const char* missing = cuda_missing();
  if (missing == nullptr) missing = nccl_missing();
  if (missing == nullptr && gpu_count() < 2) missing = "there are fewer than two GPUs";
  if (missing != nullptr) {
    std::printf("skipped: %s\n", missing);
    return 77;
  }
  std::printf("%d GPUs, NCCL %s\n", gpu_count(), nccl_version().c_str());
  return doctest::Context(argc, argv).run();
}

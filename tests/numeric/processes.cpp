// Collectives over sockets against ranks as threads, bit for bit. The processes are threads here, each with links of its own, so that
// sanitizers see all of it; tests/trainer/processes.py has real ones.
#include "support.hpp"
#include "support/collectives.hpp"

#include <atomic>
#include <thread>

#include "plait/process/run_process.hpp"

using namespace numeric;

namespace {

constexpr std::uint32_t all_axes = 1u;

/// Runs body(context&) on every rank over sockets; returns what each said when it failed.
std::vector<std::string> over_sockets(const mesh_shape& mesh, auto body, double limit = 20) {
  static std::atomic<int> runs{0};
  const int n = mesh.ranks();
  std::vector<std::string> said(static_cast<std::size_t>(n));
  const std::string file = "/tmp/plait-test-" + std::to_string(::getpid()) + "-" + std::to_string(runs++);
  std::vector<std::thread> threads;
  for (int r = 0; r < n; ++r)
    threads.emplace_back([&, r] {
      try {
        launch l;
        l.rank = r;
        l.size = n;
        l.by = "a test";
        l.meeting.file = file;
        process_world world(l, true, limit);
        socket_fabric fabric(world, mesh, test_backend());
        run_process(world, fabric, mesh, test_backend(), body);
      } catch (const std::exception& e) {
        said[static_cast<std::size_t>(r)] = e.what();
      }
    });
  for (std::thread& t : threads) t.join();
  return said;
}
bool nothing(const std::vector<std::string>& said) {
  for (const std::string& s : said) {
    INFO(s);
    CHECK(s == "");
  }
  return true;
}
bool holds(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (text.find(part) == std::string::npos) return false;
  return true;
}

}  // namespace

TEST_CASE("processes: collectives of every kind equal those of ranks as threads bit for bit") {
  for (const mesh_shape& mesh : {mesh_of({2}), mesh_of({3}), mesh_of({2, 2}), mesh_of({2, 3})}) {
    std::vector<std::vector<char>> threads(static_cast<std::size_t>(mesh.ranks())), sockets(threads.size());
    run_ranks(mesh, test_backend(), [&](context& c) { threads[static_cast<std::size_t>(c.rank)] = collective_workout(c); });
    nothing(over_sockets(mesh, [&](context& c) { sockets[static_cast<std::size_t>(c.rank)] = collective_workout(c); }));
    for (std::size_t r = 0; r < threads.size(); ++r) {
      CHECK(threads[r].size() > 1000);
      CHECK(threads[r] == sockets[r]);
    }
  }
}

TEST_CASE("processes: blocks larger than a socket holds, in both directions at once") {
  const std::int64_t count = std::int64_t{1} << 20;
  std::atomic<int> wrong{0};
  nothing(over_sockets(mesh_of({3}), [&](context& c) {
    std::vector<double> in(static_cast<std::size_t>(count), c.rank + 1), out(static_cast<std::size_t>(3 * count));
    any_communicator& group = c.group(all_axes);
    const ticket gathered = group.start({collective_kind::all_gather, in.data(), out.data(), count, dtype::f64});
    double x = 1, sum = 0;
    const ticket summed = group.start({collective_kind::all_reduce, &x, &sum, 1, dtype::f64});
    group.wait(summed);
    group.wait(gathered);
    wrong += sum != 3;
    for (std::size_t i = 0; i < out.size(); ++i) wrong += out[i] != static_cast<double>(i / static_cast<std::size_t>(count)) + 1;
  }));
  CHECK(wrong == 0);
}

TEST_CASE("processes: send and receive") {
  const int n = 3;
  std::atomic<int> wrong{0};
  nothing(over_sockets(mesh_of({n}), [&](context& c) {
    any_communicator& group = c.group(all_axes);
    const int next = (c.rank + 1) % n, before = (c.rank + n - 1) % n;
    for (int step = 0; step < 10; ++step) {
      double out = 10.0 * c.rank + step, in = -1;
      const ticket s = group.start({collective_kind::send, &out, nullptr, 1, dtype::f64, false, next});
      const ticket r = group.start({collective_kind::receive, nullptr, &in, 1, dtype::f64, false, before});
      group.wait(s);
      group.wait(r);
      wrong += in != 10.0 * before + step;
    }
  }));
  CHECK(wrong == 0);
  const auto said = over_sockets(mesh_of({2}), [](context& c) {
    double x[4] = {};
    any_communicator& group = c.group(all_axes);
    if (c.rank == 0) group.wait(group.start({collective_kind::send, x, nullptr, 4, dtype::f64, false, 1}));
    else group.wait(group.start({collective_kind::receive, nullptr, x, 3, dtype::f64, false, 0}));
  });
  INFO(said[1]);
  CHECK(holds(said[1], {"receive of 24", "send of 32"}));
}

TEST_CASE("processes: calls that differ are named on both ranks, with their places") {
  const auto said = over_sockets(mesh_of({2}), [](context& c) {
    std::vector<float> in(64), out(64);
    collective call{collective_kind::all_reduce, in.data(), out.data(), c.rank == 0 ? 8 : 9, dtype::f32};
    call.where = c.rank == 0 ? "self_attn" : "mlp";
    any_communicator& group = c.group(all_axes);
    group.wait(group.start(call));
  });
  for (const std::string& s : said) {
    INFO(s);
    CHECK(holds(s, {"rank 0", "rank 1", "8 f32", "9 f32", "'self_attn'", "'mlp'"}));
  }
}

TEST_CASE("processes: one that throws is named on the others, with what they were doing") {
  const auto said = over_sockets(mesh_of({2, 2}), [](context& c) {
    double x = 1;
    for (int step = 0; step < 5; ++step) {
      if (c.rank == 2 && step == 3) throw std::runtime_error("mishap");
      for (std::uint32_t mask = 1; mask < 4; ++mask) {
        collective call{collective_kind::all_reduce, &x, &x, 1, dtype::f64};
        call.where = "somewhere";
        c.group(mask).wait(c.group(mask).start(call));
      }
    }
  });
  CHECK(said[2] == "mishap");
  for (const std::size_t r : {0u, 1u, 3u}) {
    INFO(said[r]);
    CHECK(holds(said[r], {"rank 2: mishap", "all_reduce", "'somewhere'"}));
    CHECK(holds(said[r], {("rank " + std::to_string(r) + " was in").c_str()}));
  }
}

TEST_CASE("processes: one that returns early, or does not come, is named") {
  const auto early = over_sockets(mesh_of({3}), [](context& c) {
    double x = 1;
    if (c.rank == 1) return;
    any_communicator& group = c.group(all_axes);
    group.wait(group.start({collective_kind::all_reduce, &x, &x, 1, dtype::f64}));
  });
  CHECK(holds(early[0], {"rank 1", "returned while"}));
  CHECK(holds(early[2], {"rank 1", "returned while"}));
  std::atomic<bool> go{false};
  const auto late = over_sockets(
      mesh_of({2}),
      [&](context& c) {
        double x = 1;
        any_communicator& group = c.group(all_axes);
        if (c.rank == 1)
          for (int i = 0; i < 100 && !go; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
        try {
          group.wait(group.start({collective_kind::all_reduce, &x, &x, 1, dtype::f64}));
        } catch (...) {
          go = true;
          throw;
        }
      },
      1.0);
  INFO(late[0]);
  CHECK(holds(late[0], {"rank 0 has waited 1 s for rank 1", "all_reduce of 1 f64", "is alive", "--deadline"}));
  CHECK(holds(late[1], {"rank 0 has waited 1 s"}));
}

TEST_CASE("processes: who is who, by each launcher's variables") {
  using variables = std::map<std::string, std::string>;
  const auto detect = [](const variables& v, launch_flags flags = {}) {
    return detect_launch(flags, [&](const char* name) -> const char* {
      const auto at = v.find(name);
      return at == v.end() ? nullptr : at->second.c_str();
    });
  };
  CHECK(!detect({}).several());
  const launch torch = detect({{"RANK", "3"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "1"}, {"MASTER_ADDR", "node1"}, {"MASTER_PORT", "29500"}, {"TORCHELASTIC_RUN_ID", "a"},
                               {"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_ID", "0"}, {"SLURM_NTASKS", "2"}});
  CHECK(torch.rank == 3);
  CHECK(torch.size == 8);
  CHECK(torch.local_rank == 1);
  CHECK(torch.by == "torchrun");
  CHECK(torch.meeting.host == "node1");
  CHECK(torch.meeting.ports.front() == 29501);  // its own store listens at 29500
  CHECK(torch.run.find('a') != std::string::npos);
  const launch slurm = detect({{"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "6"}, {"SLURM_NTASKS", "64"}, {"SLURM_LOCALID", "2"}, {"SLURM_STEP_ID", "1"},
                               {"SLURM_JOB_ID", "77"}, {"SLURM_NODELIST", "gpu[003-007,9],other"}});
  CHECK(slurm.rank == 5);
  CHECK(slurm.size == 6);
  CHECK(slurm.local_rank == 2);
  CHECK(slurm.meeting.host == "gpu003");
  CHECK(slurm.meeting.ports.front() == 20000 + 77 * 64 + 1);
  CHECK(process::first_host("a,b[1-2]") == "a");
  CHECK(process::first_host("rack1-[07,09]-x,b") == "rack1-07-x");
  CHECK(process::first_host("single") == "single");
  // mpirun inside a Slurm allocation: the inner one counts.
  CHECK(detect({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}}).by == "Open MPI");
  launch_flags flags;
  flags.rank = 0;
  flags.size = 2;
  flags.rendezvous = "tcp:[::1]:4000";
  CHECK(detect({{"RANK", "1"}, {"WORLD_SIZE", "3"}, {"MASTER_ADDR", "x"}, {"MASTER_PORT", "1"}}, flags).meeting.host == "::1");
}

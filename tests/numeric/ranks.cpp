// Ranks as threads: order, checks, errors, many ranks, many collectives in flight.
#include "support.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "plait/comm/launch_gate.hpp"

using namespace numeric;

namespace {

constexpr std::uint32_t all_axes = 1u;  // the one axis of mesh_of({n})

double seconds_of(auto body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Sums in rank order of values whose sum depends on the order.
float awkward(int rank, int i) {
  constexpr float size[3] = {1.0f, 300.0f, 90000.0f};
  return size[rank % 3] * 0.001f * static_cast<float>(hash(11, static_cast<std::uint32_t>(rank), static_cast<std::uint32_t>(i)) % 1000003u);
}

std::string message_of(const mesh_shape& mesh, auto body, rank_options options = {}) {
  try {
    run_ranks(mesh, test_backend(), body, options);
  } catch (const std::exception& e) {
    return e.what();
  }
  return "";
}
bool holds(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (text.find(part) == std::string::npos) return false;
  return true;
}

}  // namespace

TEST_CASE("ranks: coordinates, groups and who is in them") {
  const mesh_shape mesh = mesh_of({2, 3, 2});
  std::atomic<int> wrong{0};
  run_ranks(mesh, test_backend(), [&](context& c) {
    wrong += mesh.rank_of(c.coordinate) != c.rank;
    for (std::uint32_t mask = 1; mask < 8; ++mask) {
      any_communicator& group = c.group(mask);
      wrong += group.size() != mesh.group_size(mask);
      std::vector<std::int32_t> members(static_cast<std::size_t>(group.size()), -1);
      const std::int32_t me = c.rank;
      group.wait(group.start({collective_kind::all_gather, &me, members.data(), 1, dtype::i32}));
      for (int m = 0; m < group.size(); ++m) {
        int at[max_atoms] = {};
        detail::member_coordinates(c, mask, m, at);
        wrong += mesh.rank_of(at) != members[static_cast<std::size_t>(m)];
      }
      wrong += members[static_cast<std::size_t>(group.rank())] != c.rank;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("ranks: every collective against its definition, n = 1 to 5, sizes 0 to 9") {
  std::atomic<int> wrong{0}, cases{0};
  for (int n = 1; n <= 5; ++n)
    run_ranks(mesh_of({n}), test_backend(), [&](context& c) {
      any_communicator& group = c.group(all_axes);
      const std::size_t ranks = static_cast<std::size_t>(n), mine = static_cast<std::size_t>(c.rank);
      for (std::size_t count = 0; count <= 9; ++count) {
        const auto value = [&](std::size_t rank, std::size_t i) { return static_cast<double>((rank + 1) * 100 + i); };
        const std::int64_t block = static_cast<std::int64_t>(count);
        std::vector<double> small(count), large(count * ranks), out_small(count, -1), out_large(count * ranks, -1);
        for (std::size_t i = 0; i < count; ++i) small[i] = value(mine, i);
        for (std::size_t i = 0; i < count * ranks; ++i) large[i] = value(mine, i);
        group.wait(group.start({collective_kind::all_gather, small.data(), out_large.data(), block, dtype::f64}));
        for (std::size_t m = 0; m < ranks; ++m)
          for (std::size_t i = 0; i < count; ++i) wrong += out_large[m * count + i] != value(m, i);
        group.wait(group.start({collective_kind::all_to_all, large.data(), out_large.data(), block, dtype::f64}));
        for (std::size_t m = 0; m < ranks; ++m)
          for (std::size_t i = 0; i < count; ++i) wrong += out_large[m * count + i] != value(m, mine * count + i);
        group.wait(group.start({collective_kind::reduce_scatter, large.data(), out_small.data(), block, dtype::f64}));
        for (std::size_t i = 0; i < count; ++i) {
          double sum = 0;
          for (std::size_t m = 0; m < ranks; ++m) sum += value(m, mine * count + i);
          wrong += out_small[i] != sum;
        }
        group.wait(group.start({collective_kind::all_reduce, small.data(), out_small.data(), block, dtype::f64}));
        for (std::size_t i = 0; i < count; ++i) {
          double sum = 0;
          for (std::size_t m = 0; m < ranks; ++m) sum += value(m, i);
          wrong += out_small[i] != sum;
        }
        group.wait(group.start({collective_kind::all_reduce, small.data(), small.data(), block, dtype::f64, true}));  // in place
        for (std::size_t i = 0; i < count; ++i) wrong += small[i] != value(ranks - 1, i);
        ++cases;
      }
    });
  CHECK(wrong == 0);
  CHECK(cases == 10 * (1 + 2 + 3 + 4 + 5));
}

TEST_CASE("ranks: sums run in rank order, whoever comes first") {
  const int n = 6, count = 37;
  std::vector<float> expected(count);
  for (int i = 0; i < count; ++i) {
    float sum = awkward(0, i);
    for (int r = 1; r < n; ++r) sum += awkward(r, i);
    expected[static_cast<std::size_t>(i)] = sum;
  }
  int depends_on_order = 0;
  for (int i = 0; i < count; ++i) {
    float other_way = awkward(n - 1, i);
    for (int r = n - 2; r >= 0; --r) other_way += awkward(r, i);
    depends_on_order += other_way != expected[static_cast<std::size_t>(i)];
  }
  CHECK(depends_on_order > 5);  // or this test says nothing
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::atomic<int> wrong{0};
    run_ranks(mesh_of({n}), test_backend(), [&](context& c) {
      std::vector<float> mine(count), out(count);
      for (int i = 0; i < count; ++i) mine[static_cast<std::size_t>(i)] = awkward(c.rank, i);
      std::this_thread::sleep_for(std::chrono::microseconds(hash(static_cast<std::uint32_t>(repeat), static_cast<std::uint32_t>(c.rank), 1) % 500));
      any_communicator& group = c.group(all_axes);
      group.wait(group.start({collective_kind::all_reduce, mine.data(), out.data(), count, dtype::f32}));
      wrong += std::memcmp(out.data(), expected.data(), sizeof(float) * count) != 0;
    });
    CHECK(wrong == 0);
  }
}

TEST_CASE("ranks: the checking mode names both ranks, both calls and the place") {
  const auto calling = [](collective odd, int odd_rank) {
    return [odd, odd_rank](context& c) {
      std::vector<double> in(64), out(64);
      collective call{collective_kind::all_reduce, in.data(), out.data(), 8, dtype::f32};
      call.where = "self_attn";
      if (c.rank == odd_rank) {
        call.kind = odd.kind;
        call.count = odd.count;
        call.type = odd.type;
        call.maximum = odd.maximum;
        call.where = odd.where;
      }
      any_communicator& group = c.group(all_axes);
      for (int i = 0; i < 3; ++i) {
        collective good{collective_kind::all_reduce, in.data(), out.data(), 1, dtype::f32};
        group.wait(group.start(good));
      }
      group.wait(group.start(call));
    };
  };
  collective odd{collective_kind::all_gather, nullptr, nullptr, 8, dtype::f32};
  odd.where = "mlp";
  const std::string op = message_of(mesh_of({4}), calling(odd, 2));
  INFO(op);
  CHECK(holds(op, {"rank 0", "rank 2", "all_reduce", "all_gather", "'self_attn'", "'mlp'", "collective 3"}));
  odd.kind = collective_kind::all_reduce;
  odd.count = 9;
  const std::string count = message_of(mesh_of({4}), calling(odd, 3));
  INFO(count);
  CHECK(holds(count, {"rank 0", "rank 3", "8 f32", "9 f32", "'self_attn'", "'mlp'"}));
  odd.count = 8;
  odd.type = dtype::f64;
  const std::string type = message_of(mesh_of({4}), calling(odd, 0));
  INFO(type);
  CHECK(holds(type, {"rank 0", "rank 1", "8 f64", "8 f32"}));
  odd.type = dtype::f32;
  odd.maximum = true;
  const std::string maximum = message_of(mesh_of({4}), calling(odd, 1));
  INFO(maximum);
  CHECK(holds(maximum, {"rank 0", "rank 1", "(maximum)"}));
  odd.maximum = false;
  CHECK(message_of(mesh_of({4}), calling(odd, 1)) == "");  // places alone may differ
}

TEST_CASE("ranks: nothing is moved before calls are compared") {
  std::atomic<int> touched{0};
  const std::string said = message_of(mesh_of({2}), [&](context& c) {
    std::vector<float> in(4, 1.0f), out(8, -7.0f);
    any_communicator& group = c.group(all_axes);
    try {
      group.wait(group.start({collective_kind::all_gather, in.data(), out.data(), c.rank == 0 ? 4 : 3, dtype::f32}));
    } catch (...) {
      for (const float v : out) touched += v != -7.0f;
      throw;
    }
  });
  CHECK(said != "");
  CHECK(touched == 0);
}

TEST_CASE("ranks: an exception on one rank releases all others and is rethrown") {
  struct mishap : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  enum place { before_anything, all_gather, reduce_scatter, all_reduce, all_to_all, send, receive, between_start_and_wait, places };
  for (int where = 0; where < places; ++where)
    for (const int thrower : {0, 2}) {
      INFO("place ", where, ", thrower ", thrower);
      std::atomic<int> released{0}, others{0};
      CHECK_THROWS_WITH_AS(run_ranks(mesh_of({4}), test_backend(),
                                     [&](context& c) {
                                       std::vector<double> in(64), out(64);
                                       any_communicator& group = c.group(all_axes);
                                       group.wait(group.start({collective_kind::all_reduce, in.data(), out.data(), 4, dtype::f64}));
                                       if (c.rank == thrower && where != between_start_and_wait) throw mishap("mishap on one rank");
                                       try {
                                         const int peer = thrower;
                                         switch (where) {
                                           case send: group.wait(group.start({collective_kind::send, in.data(), nullptr, 4, dtype::f64, false, peer})); break;
                                           case receive: group.wait(group.start({collective_kind::receive, nullptr, out.data(), 4, dtype::f64, false, peer})); break;
                                           case between_start_and_wait: {
                                             const ticket t = group.start({collective_kind::all_reduce, in.data(), out.data(), 4, dtype::f64});
                                             if (c.rank == thrower) {
                                               group.cancel();  // whoever holds the buffers of a started call says so before they go
                                               throw mishap("mishap on one rank");
                                             }
                                             group.wait(t);
                                             break;
                                           }
                                           case reduce_scatter: group.wait(group.start({collective_kind::reduce_scatter, in.data(), out.data(), 4, dtype::f64})); break;
                                           case all_reduce: group.wait(group.start({collective_kind::all_reduce, in.data(), out.data(), 4, dtype::f64})); break;
                                           case all_to_all: group.wait(group.start({collective_kind::all_to_all, in.data(), out.data(), 4, dtype::f64})); break;
                                           default: group.wait(group.start({collective_kind::all_gather, in.data(), out.data(), 4, dtype::f64})); break;
                                         }
                                         ++others;
                                       } catch (const rank_released&) {
                                         ++released;
                                         throw;
                                       }
                                     }),
                           "mishap on one rank", mishap);
      CHECK(released == 3);
      CHECK(others == 0);
    }
}

TEST_CASE("ranks: an exception reaches ranks of other groups, and groups made later") {
  const mesh_shape mesh = mesh_of({2, 2});
  std::atomic<int> released{0};
  CHECK_THROWS_WITH(run_ranks(mesh, test_backend(),
                              [&](context& c) {
                                double x = 1;
                                if (c.rank == 0) throw std::runtime_error("first");
                                try {
                                  if (c.rank == 3) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // its group is made after the failure
                                  any_communicator& group = c.group(c.rank == 3 ? 1u : 2u);
                                  group.wait(group.start({collective_kind::all_reduce, &x, &x, 1, dtype::f64}));
                                } catch (const rank_released&) {
                                  ++released;
                                  throw;
                                }
                              }),
                    "first");
  CHECK(released >= 2);
  CHECK_THROWS_WITH(run_ranks(mesh_of({1}), test_backend(), [](context&) { throw std::runtime_error("alone"); }), "alone");
}

TEST_CASE("ranks: a rank that returns early is named") {
  for (const int early : {0, 2}) {
    const std::string said = message_of(mesh_of({3}), [&](context& c) {
      double x = 1;
      any_communicator& group = c.group(all_axes);
      group.wait(group.start({collective_kind::all_reduce, &x, &x, 1, dtype::f64}));
      if (c.rank == early) return;
      group.wait(group.start({collective_kind::all_reduce, &x, &x, 1, dtype::f64}));
    });
    INFO(said);
    CHECK(holds(said, {"rank ", "returned while others"}));
    CHECK(said.find("rank " + std::to_string(early)) != std::string::npos);
  }
}

TEST_CASE("ranks: redistributions and errors at random moments: released, never read after they are gone") {
  for (std::uint32_t round = 0; round < 40; ++round) {
    const int thrower = static_cast<int>(hash(3, round, 0) % 4u), steps = static_cast<int>(hash(3, round, 1) % 5u);
    CHECK_THROWS_WITH(run_ranks(mesh_of({2, 2}), test_backend(),
                                [&](context& c) {
                                  for (int step = 0; step < 8; ++step) {
                                    const array x = make(c, integers({8, 8}, round), layout_of({P, S(0)}), dtype::f32, round, false);
                                    array y = x;
                                    detail::transfer flying(c, x.local, x.memory, x.global, x.layout, layout_of({S(1), R}));
                                    if (c.rank == thrower && step == steps) throw std::runtime_error("at random");
                                    flying.finish(c);
                                  }
                                }),
                      "at random");
  }
}

TEST_CASE("ranks: 64 ranks on few cores finish quickly") {
  std::atomic<int> wrong{0};
  const double seconds = seconds_of([&] {
    run_ranks(mesh_of({4, 16}), test_backend(), [&](context& c) {
      for (int step = 0; step < 20; ++step) {
        for (std::uint32_t mask = 1; mask < 4; ++mask) {
          any_communicator& group = c.group(mask);
          double x = 1.0, y = 0;
          group.wait(group.start({collective_kind::all_reduce, &x, &y, 1, dtype::f64}));
          wrong += y != group.size();
          std::vector<std::int32_t> everyone(static_cast<std::size_t>(group.size()));
          const std::int32_t me = group.rank();
          group.wait(group.start({collective_kind::all_gather, &me, everyone.data(), 1, dtype::i32}));
          for (int m = 0; m < group.size(); ++m) wrong += everyone[static_cast<std::size_t>(m)] != m;
        }
      }
    });
  });
  CHECK(wrong == 0);
  MESSAGE("64 ranks, 120 collectives each: ", seconds, " s");
  CHECK(seconds < 30);
}

TEST_CASE("ranks: many collectives in flight, waited for in any order, each rank in its own") {
  const int n = 4, flights = 24;
  for (const bool own_order : {false, true}) {
    std::atomic<int> wrong{0};
    run_ranks(mesh_of({n}), test_backend(), [&](context& c) {
      any_communicator& group = c.group(all_axes);
      std::vector<std::vector<double>> in(flights), out(flights);
      std::vector<ticket> tickets(flights);
      std::vector<std::size_t> order;
      for (std::size_t f = 0; f < flights; ++f) {
        in[f].assign(2 * n, static_cast<double>(f) + 0.5 * c.rank);
        out[f].assign(2 * n, -1);
        const collective_kind kind = static_cast<collective_kind>(f % 4);
        tickets[f] = group.start({kind, in[f].data(), out[f].data(), 2, dtype::f64});
        order.push_back(f);
      }
      std::mt19937 random(own_order ? static_cast<std::uint32_t>(c.rank) + 1u : 7u);
      std::shuffle(order.begin(), order.end(), random);
      for (const std::size_t f : order) {
        group.wait(tickets[f]);
        const double base = static_cast<double>(f);
        const bool gathers = f % 4 == static_cast<std::size_t>(collective_kind::all_gather) || f % 4 == static_cast<std::size_t>(collective_kind::all_to_all);
        for (std::size_t i = 0; i < (gathers ? 2u * n : 2u); ++i)
          wrong += out[f][i] != (gathers ? base + 0.5 * static_cast<double>(i / 2) : n * base + 0.5 * (n * (n - 1) / 2));
      }
    });
    INFO("own order: ", own_order);
    CHECK(wrong == 0);
  }
}

TEST_CASE("ranks: collectives of several groups overlap") {
  std::atomic<int> wrong{0};
  run_ranks(mesh_of({2, 3}), test_backend(), [&](context& c) {
    for (int step = 0; step < 30; ++step) {
      double one = 1, sums[3] = {};
      ticket t[3];
      for (std::uint32_t mask = 1; mask < 4; ++mask) t[mask - 1] = c.group(mask).start({collective_kind::all_reduce, &one, &sums[mask - 1], 1, dtype::f64});
      for (std::uint32_t mask = 3; mask >= 1; --mask) c.group(mask).wait(t[mask - 1]);
      wrong += sums[0] != 2 || sums[1] != 3 || sums[2] != 6;
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("ranks: an uneven all_to_all moves what both sides count, blocks to send may overlap, and a wrong count is named") {
  std::atomic<int> wrong{0}, moved{0};
  for (int n = 1; n <= 5; ++n)
    for (std::uint32_t seed = 0; seed < 6; ++seed) {
      // Rank r sends counts(r, m) elements to rank m, from `at` r + m of its own; some ranks neither send nor receive.
      const auto counts = [&](int r, int m) {
        const std::uint32_t h = hash(seed, static_cast<std::uint32_t>(r), static_cast<std::uint32_t>(m));
        return r == static_cast<int>(seed) || m + 1 == static_cast<int>(seed) ? i64{0} : static_cast<i64>(h % 5);
      };
      run_ranks(mesh_of({n}), test_backend(), [&](context& c) {
        any_communicator& group = c.group(all_axes);
        std::vector<double> mine(static_cast<std::size_t>(2 * n + 5));
        for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = 100.0 * c.rank + static_cast<double>(i);
        std::vector<exchange_block> blocks(static_cast<std::size_t>(n));
        i64 received = 1;  // the first element stays as it is
        for (int m = n - 1; m >= 0; --m) {
          blocks[static_cast<std::size_t>(m)] = {counts(c.rank, m), c.rank + m, counts(m, c.rank), received};
          received += counts(m, c.rank);
        }
        std::vector<double> out(static_cast<std::size_t>(received), -7);
        collective call{collective_kind::all_to_all, mine.data(), out.data(), 0, dtype::f64};
        call.blocks = blocks.data();
        group.wait(group.start(call));
        wrong += out[0] != -7;
        for (int m = 0; m < n; ++m)
          for (i64 i = 0; i < counts(m, c.rank); ++i, ++moved)
            wrong += out[static_cast<std::size_t>(blocks[static_cast<std::size_t>(m)].receive_at + i)] != 100.0 * m + m + c.rank + static_cast<double>(i);
      });
    }
  CHECK(wrong == 0);
  CHECK(moved > 200);
  // All send 2 to all, but rank 1 sends 3 to rank 2; or rank 2 thinks that the blocks are equal.
  const auto unequal = [](bool counted) {
    return message_of(mesh_of({3}), [&](context& c) {
      float x[9] = {}, y[9] = {};
      const exchange_block blocks[3] = {{2, 0, 2, 0}, {2, 2, 2, 2}, {c.rank == 1 ? 3 : 2, 4, 2, 4}};
      collective call{collective_kind::all_to_all, x, y, 0, dtype::f32};
      if (counted || c.rank != 2) call.blocks = blocks;
      any_communicator& group = c.group(all_axes);
      group.wait(group.start(call));
    });
  };
  CHECK(holds(unequal(true), {"rank 1 sends 3 elements to rank 2, which wants 2", "uneven all_to_all"}));
  CHECK(holds(unequal(false), {"rank 0 called uneven all_to_all", "rank 2 called all_to_all"}));
}

TEST_CASE("ranks: send and receive") {
  const int n = 4;
  std::atomic<int> wrong{0};
  run_ranks(mesh_of({n}), test_backend(), [&](context& c) {
    any_communicator& group = c.group(all_axes);
    const int next = (c.rank + 1) % n, before = (c.rank + n - 1) % n;
    // Around the ring, both directions started before either is waited for; sends are waited for first.
    for (int step = 0; step < 10; ++step) {
      double out = 10.0 * c.rank + step, in = -1;
      const ticket s = group.start({collective_kind::send, &out, nullptr, 1, dtype::f64, false, next});
      const ticket r = group.start({collective_kind::receive, nullptr, &in, 1, dtype::f64, false, before});
      group.wait(s);
      group.wait(r);
      wrong += in != 10.0 * before + step;
    }
    // Several letters between one pair keep their order; waits come in any order, a collective in between.
    std::vector<double> letters(5);
    std::vector<ticket> t(5);
    for (std::size_t i = 0; i < 5; ++i) {
      if (c.rank == 0) letters[i] = static_cast<double>(i) + 0.25;
      if (c.rank == 0) t[i] = group.start({collective_kind::send, &letters[i], nullptr, 1, dtype::f64, false, 3});
      if (c.rank == 3) t[i] = group.start({collective_kind::receive, nullptr, &letters[i], 1, dtype::f64, false, 0});
    }
    double x = 1;
    group.wait(group.start({collective_kind::all_reduce, &x, &x, 1, dtype::f64}));
    wrong += x != n;
    if (c.rank == 0 || c.rank == 3)
      for (const std::size_t i : {3u, 0u, 4u, 1u, 2u}) {
        group.wait(t[i]);
        wrong += letters[i] != static_cast<double>(i) + 0.25;
      }
  });
  CHECK(wrong == 0);
  const std::string said = message_of(mesh_of({2}), [](context& c) {
    double x[4] = {};
    any_communicator& group = c.group(all_axes);
    if (c.rank == 0) group.wait(group.start({collective_kind::send, x, nullptr, 4, dtype::f64, false, 1}));
    else group.wait(group.start({collective_kind::receive, nullptr, x, 3, dtype::f64, false, 0}));
  });
  INFO(said);
  CHECK(holds(said, {"receive of 24", "send of 32"}));
}

TEST_CASE("ranks: a context without communicators says so; one rank needs none") {
  context c;
  c.ops = &test_backend();
  CHECK_THROWS_AS(c.group(1), std::logic_error);
  run_ranks(mesh_of({1}), test_backend(), [](context& one) {
    array x = make(one, integers({4}, 1), layout_of({P}), dtype::f32, 1, false);
    const array y = runtime::redistribute(one, x, layout_of({R}));
    CHECK(first_difference(integers({4}, 1), denote({read(y.local)}, layout_of({R}), {4}, one.mesh).w) == -1);
  });
}

TEST_CASE("ranks: a rank that returns early is named to those who wait for it") {
  mesh_shape mesh;
  mesh.atoms = 1;
  mesh.size[0] = 4;
  for (const int calls : {0, 1, 3}) {
    CHECK_THROWS_WITH(run_ranks(mesh, test_backend(),
                                [&](context& c) {
                                  float x = 1, y = 0;
                                  any_communicator& group = c.group(1);
                                  for (int i = 0; i < 4; ++i) {
                                    if (c.rank == 2 && i == calls) return;
                                    group.wait(group.start({collective_kind::all_reduce, &x, &y, 1, dtype::f32}));
                                  }
                                }),
                      doctest::Contains("rank 2 of a group returned"));
  }
}

TEST_CASE("ranks: nobody passes a launch gate before all have started, and a failure lets those who wait go") {
  constexpr int members = 4;
  launch_gate gate(members);
  std::array<std::atomic<int>, members> started{};
  std::atomic<bool> failed{false};
  std::atomic<int> early{0}, released{0};
  std::vector<std::thread> threads;
  for (int m = 0; m < members; ++m)
    threads.emplace_back([&, m] {
      const auto check = [&] {
        if (failed) throw std::runtime_error("failed");
      };
      try {
        for (int operation = 0; operation < 301; ++operation) {
          if (operation == 300 && m == 0) {  // it never comes
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            failed = true;
            return;
          }
          if (hash(3, static_cast<std::uint32_t>(m), static_cast<std::uint32_t>(operation)) % 16u == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
          ++started[static_cast<std::size_t>(m)];
          gate.pass(static_cast<std::uint64_t>(operation), check);
          for (const std::atomic<int>& s : started) early += s <= operation;
        }
      } catch (const std::runtime_error&) {
        ++released;
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(early == 0);
  CHECK(released == members - 1);
  CHECK(started[1] == 301);
}

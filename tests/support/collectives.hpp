#pragma once
// Collectives of every kind on every group of a mesh, on whatever backend and fabric the context has: what comes out must be the same.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "plait/runtime/context.hpp"

namespace plait::inline v0_1 {

inline std::uint32_t scrambled(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  std::uint64_t x = (static_cast<std::uint64_t>(a) << 40) ^ (static_cast<std::uint64_t>(b) << 20) ^ c;
  x = (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull;
  return static_cast<std::uint32_t>(x >> 32);
}

/// Types, sizes (up to `most` elements a block), uneven blocks, maxima, sums in place; three in flight at a time. The results, in order.
inline std::vector<char> collective_workout(context& c, int rounds = 40, std::uint32_t most = 70) {
  std::vector<char> all;
  std::mt19937 random(5);
  constexpr dtype types[] = {dtype::f32, dtype::f64, dtype::bf16};
  struct flight {
    std::shared_ptr<buffer> in, out;
    std::vector<exchange_block> blocks;
    any_communicator* group = nullptr;
    ticket t;
  };
  for (int round = 0; round < rounds; ++round) {
    std::vector<flight> flights(3);
    for (flight& f : flights) {
      const std::uint32_t mask = 1 + static_cast<std::uint32_t>(random()) % ((1u << c.mesh.atoms) - 1);
      f.group = &c.group(mask);
      const std::int64_t n = f.group->size();
      collective call;
      call.kind = static_cast<collective_kind>(random() % 4);
      call.type = types[random() % 3];
      call.count = static_cast<std::int64_t>(random() % most);
      call.maximum = call.kind == collective_kind::all_reduce && random() % 3 == 0;
      call.where = "workout";
      call.queue = &c.exec;
      const auto salt = static_cast<std::uint32_t>(random());
      std::int64_t elements = call.count * n;
      if (call.kind == collective_kind::all_to_all && random() % 2 == 0) {
        f.blocks.resize(static_cast<std::size_t>(n));
        std::int64_t send_at = 0, receive_at = 0;
        for (std::int64_t m = 0; m < n; ++m) {
          const auto size = [&](std::int64_t from, std::int64_t to) {
            return static_cast<std::int64_t>(scrambled(salt, static_cast<std::uint32_t>(from), static_cast<std::uint32_t>(to)) % 9u);
          };
          exchange_block& b = f.blocks[static_cast<std::size_t>(m)];
          b = {size(f.group->rank(), m), send_at, size(m, f.group->rank()), receive_at};
          send_at += b.send;
          receive_at += b.receive;
        }
        elements = std::max(send_at, receive_at);
        call.count = 0;
        call.blocks = f.blocks.data();
      }
      std::vector<char> values(static_cast<std::size_t>(elements) * size_of(call.type)), zeros(values.size());
      for (std::int64_t i = 0; i < elements; ++i) {
        const auto at = static_cast<std::uint32_t>(i);
        const double value = std::ldexp(static_cast<double>(scrambled(salt, static_cast<std::uint32_t>(c.rank), at) % 4001u) - 2000.0,
                                        static_cast<int>(scrambled(salt, 1, at) % 20u) - 10);
        char* const to = values.data() + static_cast<std::size_t>(i) * size_of(call.type);
        const float narrow = static_cast<float>(value);
        if (call.type == dtype::f64) std::memcpy(to, &value, 8);
        if (call.type == dtype::f32) std::memcpy(to, &narrow, 4);
        if (call.type == dtype::bf16) std::memcpy(to, reinterpret_cast<const char*>(&narrow) + 2, 2);
      }
      const bool in_place = call.kind == collective_kind::all_reduce && round % 2 == 0;
      f.in = c.allocate(values.size());
      f.out = in_place ? f.in : c.allocate(values.size());
      if (!values.empty()) {
        c.ops->copy(c.exec, f.out->data(), zeros.data(), zeros.size());
        c.ops->copy(c.exec, f.in->data(), values.data(), values.size());
      }
      call.in = f.in->data();
      call.out = f.out->data();
      f.t = f.group->start(call);
    }
    for (std::size_t i = flights.size(); i-- > 0;) flights[i].group->wait(flights[i].t);
    for (const flight& f : flights) {
      std::vector<char> result(f.out->bytes());
      if (!result.empty()) c.ops->copy(c.exec, result.data(), f.out->data(), result.size());
      all.insert(all.end(), result.begin(), result.end());
    }
  }
  return all;
}

}  // namespace plait::inline v0_1

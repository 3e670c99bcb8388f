#include "plait/cpu/memory.hpp"

#include "support.hpp"

using namespace cpu_test;

TEST_CASE("cpu memory: allocation is aligned, empty is legal, poison is NaN") {
  void* nothing = cpu.allocate(nullptr, 0);
  CHECK(nothing != nullptr);
  cpu.release(nullptr, nothing, 0);
  cpu.release(nullptr, nullptr, 0);
  for (std::size_t bytes : {1u, 63u, 64u, 1000u}) {
    void* p = cpu.allocate(nullptr, bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
    cpu.release(nullptr, p, bytes);
  }
  CHECK_FALSE(poison_allocations());
  poison_allocations() = true;
  float* p = static_cast<float*>(cpu.allocate(nullptr, 8));
  CHECK(std::isnan(p[0]));
  CHECK(std::isnan(p[1]));
  cpu.release(nullptr, p, 8);
  poison_allocations() = false;
}

TEST_CASE("cpu memory: copy and fill") {
  tensor a = random(dtype::f32, {7}), b(dtype::f32, {7});
  cpu.copy(plain, b.storage.data(), a.storage.data(), 28);
  CHECK(same_bytes(a, b));
  cpu.copy(plain, nullptr, nullptr, 0);
  for (dtype type : {dtype::f32, dtype::f64, dtype::bf16, dtype::i32, dtype::i64, dtype::u8}) {
    tensor t(type, {3, 5});
    cpu.fill(plain, t.v(), 3);
    for (i64 i = 0; i < 15; ++i) CHECK(t[i] == 3);
    cpu.fill(plain, t.v(), 0);
    for (i64 i = 0; i < 15; ++i) CHECK(t[i] == 0);
  }
  cpu.fill(plain, view{nullptr, dtype::f32, 2, {0, 4}}, 1);
}

TEST_CASE("cpu memory: copy_box of every rank against a naive copy") {
  for (int rank = 0; rank <= 5; ++rank) {
    for (int trial = 0; trial < 60; ++trial) {
      i64 to_extent[5] = {}, from_extent[5] = {}, to_start[5] = {}, from_start[5] = {}, count[5] = {};
      i64 to_size = 1, from_size = 1, box = 1;
      for (int d = 0; d < rank; ++d) {
        count[d] = static_cast<i64>(generator()() % 4 + (trial % 10 != 0));
        const bool whole = generator()() % 2 == 0;  // whole rows take the merged path
        to_start[d] = whole ? 0 : static_cast<i64>(generator()() % 3);
        from_start[d] = whole ? 0 : static_cast<i64>(generator()() % 3);
        to_extent[d] = to_start[d] + count[d] + (whole ? 0 : static_cast<i64>(generator()() % 2));
        from_extent[d] = from_start[d] + count[d] + (whole ? 0 : static_cast<i64>(generator()() % 2));
        to_size *= to_extent[d];
        from_size *= from_extent[d];
        box *= count[d];
      }
      tensor from = random(dtype::f32, {from_size}), to = random(dtype::f32, {to_size});
      tensor want = to;
      for (i64 n = 0; n < box; ++n) {
        i64 rest = n, at_to = 0, at_from = 0, position[5] = {};
        for (int d = rank - 1; d >= 0; --d) {
          position[d] = rest % count[d];
          rest /= count[d];
        }
        for (int d = 0; d < rank; ++d) {
          at_to = at_to * to_extent[d] + to_start[d] + position[d];
          at_from = at_from * from_extent[d] + from_start[d] + position[d];
        }
        want.set(at_to, from[at_from]);
      }
      cpu.copy_box(plain, to.storage.data(), to_extent, to_start, from.storage.data(), from_extent, from_start, count, rank, 4);
      CHECK(same_bytes(to, want));
    }
  }
}

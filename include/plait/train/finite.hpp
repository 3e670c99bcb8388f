#pragma once
// Whether numbers, and a run's state made of them, are finite: read by their bits, in the type that they have.
#include <algorithm>
#include <cstring>
#include <vector>

#include "plait/runtime/collective_call.hpp"
#include "plait/train/parameter_store.hpp"

namespace plait::inline v0_1 {

/// Whether none of the floating-point numbers in `bytes` bytes of host memory is infinite or NaN.
inline bool all_finite(dtype type, const char* data, std::size_t bytes) {
  const auto check = [&]<class Word>(Word exponent) {
    for (std::size_t at = 0; at + sizeof(Word) <= bytes; at += sizeof(Word)) {
      Word word;
      std::memcpy(&word, data + at, sizeof word);
      if ((word & exponent) == exponent) return false;
    }
    return true;
  };
  if (type == dtype::f64) return check(std::uint64_t{0x7ff} << 52);
  return type == dtype::bf16 ? check(std::uint16_t{0x7f80}) : check(std::uint32_t{0x7f800000});
}

/// Whether all that a checkpoint would hold, weights and moments, is finite on every rank. Every rank must call it. The state comes to
/// the host in pieces of 4 MiB.
inline bool state_is_finite(context& c, const parameter_store& store) {
  constexpr std::size_t piece = std::size_t{4} << 20;
  std::vector<char> held;
  const auto finite = [&](const view& v) {
    for (std::size_t at = 0; v && at < v.bytes(); at += held.size()) {
      held.resize(std::min(piece, v.bytes() - at));
      c.ops->copy(c.exec, held.data(), v.as<char>() + at, held.size());
      if (!all_finite(v.type, held.data(), held.size())) return false;
    }
    return true;
  };
  const bool ours = std::all_of(store.slots.begin(), store.slots.end(),
                                [&](const parameter_slot& s) { return finite(s.master) && finite(s.moment1) && finite(s.moment2); });
  return sum_over_ranks(c, ours ? 0.0 : 1.0) == 0;
}

}  // namespace plait::inline v0_1

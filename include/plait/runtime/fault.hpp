#pragma once
// Data errors found inside op bodies. Ops do not throw; the record is read at stated points (end of a step, a load).
#include <atomic>
#include <cstdint>

namespace plait::inline v0_1 {

enum class fault : int {
  none = 0,
  nan_router_logits,      // a row of router logits held NaN or infinity
  id_out_of_range,        // a token id outside [0, vocabulary)
  label_out_of_range,     // a label that is neither -100 nor in [0, vocabulary)
};

constexpr const char* describe(fault f) {
  switch (f) {
    case fault::none: return "none";
    case fault::nan_router_logits: return "router logits are not finite";
    case fault::id_out_of_range: return "a token id lies outside the vocabulary";
    case fault::label_out_of_range: return "a label lies outside the vocabulary and is not -100";
  }
  return "?";
}

/// First fault wins; `where` is the row (token) at which it was seen.
class fault_record {
 public:
  void raise(fault f, std::int64_t where) {
    int expected = 0;
    if (kind_.compare_exchange_strong(expected, static_cast<int>(f))) where_.store(where);
  }
  fault kind() const { return static_cast<fault>(kind_.load()); }
  std::int64_t where() const { return where_.load(); }
  void clear() { kind_.store(0); }

 private:
  std::atomic<int> kind_{0};
  std::atomic<std::int64_t> where_{0};
};

}  // namespace plait::inline v0_1

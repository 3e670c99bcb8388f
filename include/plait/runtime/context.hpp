#pragma once
// The execution context: what every op and collective of one rank runs in.
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "plait/comm/communicator.hpp"
#include "plait/runtime/backend.hpp"
#include "plait/runtime/buffer.hpp"
#include "plait/mesh/mesh_shape.hpp"
#include "plait/runtime/tape.hpp"

namespace plait::inline v0_1 {

/// Gives a rank the communicator of the group that a mask of atoms spans.
class communicator_source {
 public:
  virtual ~communicator_source() = default;
  virtual any_communicator& group(std::uint32_t mask) = 0;
};

/// One collective as it was started: for explain's test, the flight recorder and the metrics line.
struct collective_record {
  std::string where;
  int layer = -1;
  collective_kind kind = collective_kind::all_reduce;
  std::uint32_t mask = 0;
  int ranks = 1;
  std::int64_t payload = 0;  // bytes of this rank's input, unpadded
  bool backward = false;
  std::vector<std::int64_t> sent{};  // uneven all_to_all: bytes for each member
};

struct context {
  const backend* ops = nullptr;
  execution exec{};
  mesh_shape mesh{};
  int rank = 0;
  int coordinate[max_atoms] = {};
  communicator_source* communicators = nullptr;

  tape* recording = nullptr;                          // null: no gradients are wanted
  std::vector<collective_record>* records = nullptr;  // null: collectives are not written down
  const char* where = "";                             // which part of the model is running
  int layer = -1;                                     // and of which layer
  bool in_backward = false;
  double seconds_communicating = 0;
  memory_meter memory{};

  std::shared_ptr<buffer> allocate(std::size_t bytes) { return std::make_shared<buffer>(*ops, exec.queue, bytes, &memory); }
  any_communicator& group(std::uint32_t mask) {
    if (communicators == nullptr) throw std::logic_error("plait: a collective over several ranks, but the context has no communicators");
    return communicators->group(mask);
  }
  /// Waits for a collective, counting the time.
  void wait(any_communicator& group, ticket t) {
    const auto before = std::chrono::steady_clock::now();
    group.wait(t);
    seconds_communicating += std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
  }
  void note(collective_kind kind, std::uint32_t mask, std::int64_t payload) {
    if (records != nullptr) records->push_back({where, layer, kind, mask, mesh.group_size(mask), payload, in_backward, {}});
  }
  /// An uneven all_to_all of `element` bytes.
  void note(std::uint32_t mask, const std::vector<exchange_block>& blocks, std::size_t element) {
    if (records == nullptr) return;
    note(collective_kind::all_to_all, mask, 0);
    for (const exchange_block& b : blocks) {
      records->back().sent.push_back(b.send * static_cast<std::int64_t>(element));
      records->back().payload += records->back().sent.back();
    }
  }
};

/// Sets a variable for the time of a scope, also if an exception ends it.
template <class T>
class scoped_value {
 public:
  scoped_value(T& variable, T value) : variable_(variable), before_(variable) { variable = value; }
  scoped_value(const scoped_value&) = delete;
  scoped_value& operator=(const scoped_value&) = delete;
  ~scoped_value() { variable_ = before_; }

 private:
  T& variable_;
  T before_;
};

/// Names a part of the model for the time of a scope.
class named_scope {
 public:
  named_scope(context& c, const char* name) : c_(c), before_(c.where), layer_(c.layer) { c.where = name; }
  named_scope(const named_scope&) = delete;
  named_scope& operator=(const named_scope&) = delete;
  ~named_scope() {
    c_.where = before_;
    c_.layer = layer_;
  }

 private:
  context& c_;
  const char* before_;
  int layer_;
};

}  // namespace plait::inline v0_1

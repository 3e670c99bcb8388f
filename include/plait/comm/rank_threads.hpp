#pragma once
// Ranks as threads of one process: the embedded communicator. An exception on one rank releases the others and is rethrown.
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "plait/comm/rank_group.hpp"
#include "plait/mesh/mesh_shape.hpp"

namespace plait::inline v0_1 {

struct rank_options {
  bool check = true;  // compare op, type and count of every collective between ranks before moving data
};

/// One rank's end of a group. Models every communicator concept.
class rank_communicator final : public any_communicator {
 public:
  rank_communicator(std::shared_ptr<detail::rank_group> group, int rank) : group_(std::move(group)), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }
  ticket start(const collective& call) override {
    if (call.kind == collective_kind::send || call.kind == collective_kind::receive) {
      const bool sends = call.kind == collective_kind::send;
      letters_[next_letter_] = {group_->start_letter(sends ? rank_ : call.peer, sends ? call.peer : rank_, sends, call),
                                call.queue != nullptr ? *call.queue : execution{}};
      return {next_letter_++};
    }
    return {group_->post(rank_, next_++, call)};
  }
  /// Collectives of one group complete in the order in which they were started, so ranks may wait in any order of their own.
  void wait(ticket t) override {
    const auto letter = letters_.find(t.number);
    if (letter != letters_.end()) {
      const started_letter l = letter->second;
      letters_.erase(letter);
      group_->complete(*l.letter, l.exec);
      return;
    }
    while (completed_ < next_ && completed_ <= t.number && t.number < first_letter) group_->complete(rank_, completed_++);
  }
  void cancel() override { group_->cancel(); }
  ticket start_all_gather(const void* in, void* out, std::int64_t count, dtype type) {
    return start({collective_kind::all_gather, in, out, count, type});
  }
  ticket start_reduce_scatter(const void* in, void* out, std::int64_t count, dtype type) {
    return start({collective_kind::reduce_scatter, in, out, count, type});
  }
  ticket start_all_reduce(const void* in, void* out, std::int64_t count, dtype type, bool maximum) {
    return start({collective_kind::all_reduce, in, out, count, type, maximum});
  }
  ticket start_all_to_all(const void* in, void* out, std::int64_t count, dtype type) {
    return start({collective_kind::all_to_all, in, out, count, type});
  }
  ticket start_all_to_all_uneven(const void* in, void* out, const exchange_block* blocks, dtype type) {
    collective call{collective_kind::all_to_all, in, out, 0, type};
    call.blocks = blocks;
    return start(call);
  }
  ticket start_send(int peer, const void* in, std::int64_t count, dtype type) {
    return start({collective_kind::send, in, nullptr, count, type, false, peer});
  }
  ticket start_receive(int peer, void* out, std::int64_t count, dtype type) {
    return start({collective_kind::receive, nullptr, out, count, type, false, peer});
  }

 private:
  std::shared_ptr<detail::rank_group> group_;
  int rank_;
  std::uint64_t next_ = 0, completed_ = 0;
  static constexpr std::uint64_t first_letter = 1ull << 62;  // apart from collectives' numbers
  std::uint64_t next_letter_ = first_letter;
  struct started_letter {
    std::shared_ptr<detail::rank_group::letter> letter;
    execution exec;
  };
  std::map<std::uint64_t, started_letter> letters_;
};
static_assert(can_all_gather<rank_communicator> && can_reduce_scatter<rank_communicator> && can_all_reduce<rank_communicator> &&
              can_all_to_all<rank_communicator> && can_all_to_all_uneven<rank_communicator> && can_send_receive<rank_communicator>);

/// All ranks of one mesh, in this process.
class rank_world final : public rank_fabric {
 public:
  rank_world(const mesh_shape& mesh, const backend& ops, rank_options options = {}) : mesh_(mesh), ops_(&ops), options_(options) {}

  std::unique_ptr<communicator_source> open(int rank) override { return std::make_unique<rank_communicators>(*this, rank); }
  void leave(int rank) override {
    std::lock_guard lock(mutex_);
    departed_.insert(rank);
    for (auto& [key, g] : groups_) depart_from(*g, key.first, key.second, rank);
  }

 private:
  /// A rank's communicators, made as they are asked for.
  class rank_communicators final : public communicator_source {
   public:
    rank_communicators(rank_world& world, int rank) : world_(world), rank_(rank) {}
    any_communicator& group(std::uint32_t mask) override {
      std::unique_ptr<rank_communicator>& c = made_[mask];
      if (c == nullptr) {
        int position = 0;
        const int first = group_members(world_.mesh_, rank_, mask, position).front();
        c = std::make_unique<rank_communicator>(world_.group(mask, first), position);
      }
      return *c;
    }

   private:
    rank_world& world_;
    int rank_;
    std::map<std::uint32_t, std::unique_ptr<rank_communicator>> made_;
  };

  std::shared_ptr<detail::rank_group> group(std::uint32_t mask, int first_rank) {
    std::lock_guard lock(mutex_);
    std::shared_ptr<detail::rank_group>& g = groups_[{mask, first_rank}];
    if (g == nullptr) {
      g = std::make_shared<detail::rank_group>(mesh_.group_size(mask), *ops_, options_.check);
      if (failed_) g->fail();
      for (const int r : departed_) depart_from(*g, mask, first_rank, r);
    }
    return g;
  }
  void depart_from(detail::rank_group& g, std::uint32_t mask, int first_rank, int rank) const {
    int position = 0;
    if (group_members(mesh_, rank, mask, position).front() == first_rank) g.depart(position);
  }
  void stop(int, std::exception_ptr) override {
    std::lock_guard lock(mutex_);
    failed_ = true;
    for (auto& g : groups_) g.second->fail();
  }

  mesh_shape mesh_;
  const backend* ops_;
  rank_options options_;
  std::mutex mutex_;
  std::map<std::pair<std::uint32_t, int>, std::shared_ptr<detail::rank_group>> groups_;
  std::set<int> departed_;
  bool failed_ = false;
};

/// Runs body(context&) once per rank of `mesh`, each in a thread of its own (in this one if there is only one rank), and rethrows
/// the first exception of any rank after all have stopped.
template <class Body>
void run_ranks(const mesh_shape& mesh, const backend& ops, Body body, rank_options options = {}) {
  rank_world world(mesh, ops, options);
  run_ranks_over(world, mesh, ops, 0, mesh.ranks(), std::move(body));
}

/// The same over a mesh type whose sizes are all static.
template <class Mesh, class Body>
void run_ranks(const backend& ops, Body body, rank_options options = {}) {
  static_assert(shape_is_static<Mesh>, "plait: the mesh has axes whose size is known at run time only; pass a mesh_shape");
  run_ranks(shape_of<Mesh>(), ops, std::move(body), options);
}

}  // namespace plait::inline v0_1

#pragma once
// One rank of a run in this process; the others are processes elsewhere, reached over sockets.
#include "plait/comm/rank_fabric.hpp"
#include "plait/process/socket_communicator.hpp"
#include "plait/process/world.hpp"

namespace plait::inline v0_1 {

/// What processes have in common, whatever carries their collectives: how a rank leaves, and how the others hear of its failure.
class process_fabric : public rank_fabric {
 public:
  /// `exit_code_of`: what a process ends with on an exception, so that all end alike.
  explicit process_fabric(process_world& world, std::function<int(std::exception_ptr)> exit_code_of = {})
      : world_(&world), exit_code_of_(std::move(exit_code_of)) {}
  void leave(int) override { world_->links().finish(); }

 protected:
  void stop(int rank, std::exception_ptr why) override {
    try {
      std::rethrow_exception(why);
    } catch (const std::exception& e) {
      world_->links().fail("rank " + std::to_string(rank) + ": " + e.what(), exit_code_of_ ? exit_code_of_(why) : 1);
    } catch (...) {
      world_->links().fail("rank " + std::to_string(rank) + " failed");
    }
  }
  process_world* world_;

 private:
  std::function<int(std::exception_ptr)> exit_code_of_;
};

/// Collectives over sockets, through host memory. The world must be a full mesh.
class socket_fabric final : public process_fabric {
 public:
  socket_fabric(process_world& world, const mesh_shape& mesh, const backend& ops, std::function<int(std::exception_ptr)> exit_code_of = {})
      : process_fabric(world, std::move(exit_code_of)), mesh_(mesh), ops_(&ops) {
    if (!world.mesh()) throw std::logic_error("plait: collectives over sockets need a world in which every process is linked to every other");
  }
  std::unique_ptr<communicator_source> open(int rank) override { return std::make_unique<source>(*this, rank); }

 private:
  class source final : public communicator_source {
   public:
    source(socket_fabric& fabric, int rank) : fabric_(fabric), rank_(rank) {}
    any_communicator& group(std::uint32_t mask) override {
      std::unique_ptr<socket_communicator>& c = made_[mask];
      if (c == nullptr) {
        int position = 0;
        std::vector<int> members = group_members(fabric_.mesh_, rank_, mask, position);
        c = std::make_unique<socket_communicator>(fabric_.world_->links(), *fabric_.ops_, mask, std::move(members), position);
      }
      return *c;
    }

   private:
    socket_fabric& fabric_;
    int rank_;
    std::map<std::uint32_t, std::unique_ptr<socket_communicator>> made_;
  };
  mesh_shape mesh_;
  const backend* ops_;
};

/// Runs body(context&) as the one rank of this process. `mesh` must have as many ranks as the world has processes.
template <class Body>
void run_process(process_world& world, rank_fabric& fabric, const mesh_shape& mesh, const backend& ops, Body body) {
  if (mesh.ranks() != world.size())
    throw launch_error("the mesh has " + std::to_string(mesh.ranks()) + " ranks, but there are " + std::to_string(world.size()) +
                       " processes; every process is one rank");
  run_ranks_over(fabric, mesh, ops, world.rank(), 1, std::move(body));
}

}  // namespace plait::inline v0_1

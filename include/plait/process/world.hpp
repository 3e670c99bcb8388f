#pragma once
// The processes of a run, from where one of them stands: who it is, what all must agree on, and how the run ends when one fails.
#include <memory>
#include <utility>

#include "plait/process/links.hpp"
#include "plait/process/meeting.hpp"

namespace plait::inline v0_1 {

class process_world {
 public:
  /// Joins the others. `mesh`: every process is linked to every other, which communication over sockets needs; otherwise to rank 0 alone.
  /// `limit`: seconds that joining, and later any operation, may take.
  process_world(const launch& l, bool mesh, double limit) : launch_(l), mesh_(mesh) {
    meeting_result met = meet(l, mesh, limit);
    local_rank_ = l.local_rank >= 0 ? l.local_rank : met.local_rank;
    local_size_ = met.local_size;
    links_ = std::make_unique<process::links>(l.rank, std::move(met.sockets), limit);
  }

  int rank() const { return launch_.rank; }
  int size() const { return launch_.size; }
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  bool mesh() const { return mesh_; }
  const std::string& by() const { return launch_.by; }
  process::links& links() { return *links_; }

  /// The text of every process, by rank, on every process. All must call it at the same place.
  std::vector<std::string> gather(const std::string& mine, const char* what) {
    const auto said = [&] { return std::string(what); };
    process::frame head;
    head.kind = process::frame_kind::text;
    head.number = texts_++;
    std::vector<std::string> all(static_cast<std::size_t>(size()));
    if (rank() != 0) {
      links_->post(0, head, mine);
      const process::message m = links_->take(0, head.kind, 0, head.number, 0, said);
      for (std::size_t r = 0, at = 0; r < all.size(); ++r) {
        std::uint64_t length = 0;
        std::memcpy(&length, m.payload.data() + at, sizeof length);
        all[r].assign(m.payload.data() + at + sizeof length, static_cast<std::size_t>(length));
        at += sizeof length + static_cast<std::size_t>(length);
      }
      return all;
    }
    std::string joined;
    for (std::size_t r = 0; r < all.size(); ++r) {
      if (r == 0) {
        all[r] = mine;
      } else {
        const process::message m = links_->take(static_cast<int>(r), head.kind, 0, head.number, 0, said);
        all[r].assign(m.payload.data(), m.payload.size());
      }
      const std::uint64_t length = all[r].size();
      joined.append(reinterpret_cast<const char*>(&length), sizeof length).append(all[r]);
    }
    for (int r = 1; r < size(); ++r) links_->post(r, head, joined);
    return all;
  }

  /// Facts (name, value) that must be the same on all processes; launch_error names the first that is not, and both ranks. All must call it.
  void agree(const std::vector<std::pair<std::string, std::string>>& facts) {
    std::string mine;
    for (const auto& [name, value] : facts) mine += name + '\x1f' + value + '\x1e';
    const std::vector<std::string> all = gather(mine, "comparing settings");
    for (std::size_t r = 1; r < all.size(); ++r)
      if (all[r] != all[0]) throw launch_error(difference(all[0], all[r], std::to_string(r)));
  }

 private:
  using fact_list = std::vector<std::pair<std::string, std::string>>;
  static fact_list parse(const std::string& text) {
    fact_list facts;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t middle = text.find('\x1f', at), end = text.find('\x1e', middle);
      facts.emplace_back(text.substr(at, middle - at), text.substr(middle + 1, end - middle - 1));
      at = end + 1;
    }
    return facts;
  }
  static const std::string* value_of(const fact_list& facts, const std::string& name) {
    for (const auto& [n, value] : facts)
      if (n == name) return &value;
    return nullptr;
  }
  static std::string difference(const std::string& zero, const std::string& other, const std::string& rank) {
    const fact_list a = parse(zero), b = parse(other);
    for (const auto& [name, value] : a) {
      const std::string* const theirs = value_of(b, name);
      if (theirs == nullptr) return name + " is given on rank 0 (" + value + ") but not on rank " + rank + "; start all processes with the same";
      if (*theirs != value) return name + " is " + value + " on rank 0 but " + *theirs + " on rank " + rank + "; start all processes with the same";
    }
    for (const auto& [name, value] : b)
      if (value_of(a, name) == nullptr) return name + " is given on rank " + rank + " (" + value + ") but not on rank 0; start all processes with the same";
    return "rank 0 and rank " + rank + " list their settings in another order";
  }

  launch launch_;
  bool mesh_;
  int local_rank_ = 0, local_size_ = 1;
  std::uint64_t texts_ = 0;
  std::unique_ptr<process::links> links_;
};

}  // namespace plait::inline v0_1

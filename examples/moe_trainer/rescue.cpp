#include "rescue.hpp"

#include <sys/stat.h>

#include <optional>
#include <vector>

#include "export.hpp"
#include "plait/process/launch.hpp"

namespace trainer {
namespace {

/// New folders to try, one after the other.
std::vector<std::string> places_instead_of(const std::string& folder, const std::string& name) {
  std::vector<std::string> places = {folder.substr(0, folder.find_last_not_of('/') + 1) + "-instead", "./" + name,
                                     plait::process::temporary_folder() + "/" + name};
  for (std::string& place : places) {
    struct stat status {};
    const std::string base = place;
    for (int i = 2; ::lstat(place.c_str(), &status) == 0 && i < 1000; ++i) place = base + "-" + std::to_string(i);
  }
  return places;
}

}  // namespace

std::string export_elsewhere(plait::context& c, rank_model& m, const session& s, const std::string& folder, std::int64_t step) {
  for (std::string place : places_instead_of(folder, "moe_trainer-export-of-step-" + std::to_string(step))) {
    place = plait::gather_texts(c, place)[0];
    if (export_folder(c, m, s, place).empty()) return place;
    if (c.rank == 0) plait::io::writes().remove_folder(place.c_str());
  }
  return "";
}

std::string save_elsewhere(plait::context& c, const plait::parameter_store& store, const plait::save_facts& facts, const std::string& folder) {
  for (std::string place : places_instead_of(folder, "moe_trainer-save")) {
    place = plait::gather_texts(c, place)[0];
    std::optional<plait::io::checkpoint_store> folder_of_rank_0;
    std::string problem;
    try {
      if (c.rank == 0) folder_of_rank_0.emplace(place);
    } catch (const std::exception& e) {
      problem = e.what();
    }
    if (!plait::gather_texts(c, problem)[0].empty()) continue;
    plait::checkpoint_saver saver(folder_of_rank_0 ? &*folder_of_rank_0 : nullptr, place);
    std::optional<plait::save_outcome> outcome = saver.begin(c, store, facts);
    if (!outcome) outcome = saver.finish(c);
    if (outcome->error.empty()) return place + "/" + plait::io::step_folder_name(outcome->step);
    if (c.rank != 0) continue;
    plait::io::writes().remove_file((place + "/.lock").c_str());
    plait::io::writes().remove_folder(place.c_str());
  }
  return "";
}

}  // namespace trainer

#pragma once
// A Hugging Face model folder: config.json, and model.safetensors or the files that model.safetensors.index.json
// names. Nothing outside the folder is opened, with one exception: in the layout of the hub's cache
// (.../blobs/ beside .../snapshots/REVISION/) files are links into blobs/, and those are followed.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plait/io/error.hpp"
#include "plait/io/file.hpp"
#include "plait/io/json.hpp"
#include "plait/io/safetensors.hpp"

namespace plait::inline v0_1::io {

namespace detail {

/// The path with all links resolved, or "".
inline std::string real_path(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr), [](void* p) { std::free(p); });
  return resolved ? std::string(resolved.get()) : std::string();
}

inline std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

inline bool directly_inside(const std::string& folder, const std::string& file) { return parent_of(file) == folder; }

/// Why `name` cannot be the name of a file inside a folder, or "".
inline std::string bare_name_problem(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > 255) return "is longer than 255 bytes";
  if (name.find('/') != std::string_view::npos || name.find('\\') != std::string_view::npos) return "holds a slash";
  if (name.find('\0') != std::string_view::npos) return "holds a NUL byte";
  if (name.front() == '.' || name.find("..") != std::string_view::npos) return "holds dots that could leave the folder";
  if (name.find(':') != std::string_view::npos) return "holds a colon";
  if (!is_utf8(name)) return "is not UTF-8";
  for (const char c : name)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return "holds a control byte";
  return "";
}

/// The handler of model.safetensors.index.json: takes weight_map, passes over the rest.
class index_reader final : public json_events {
 public:
  index_reader(std::string_view file, std::vector<std::pair<std::string, std::uint32_t>>& map, std::vector<std::string>& files)
      : file_(file), map_(map), files_(files) {}
  void null() override { other("null"); }
  void boolean(bool) override { other("true or false"); }
  void natural(std::uint64_t) override { other("a number"); }
  void negative(std::int64_t) override { other("a number"); }
  void real(double) override { other("a number"); }
  void string(std::string& value) override {
    if (!in_map()) return other("a text");
    const std::string problem = bare_name_problem(value);
    if (!problem.empty()) {
      throw input_error(file_, "weight_map[" + in_quotes(key_) + "]",
                        "file name " + in_quotes(value) + " " + problem + "; name a file of this folder");
    }
    if (!value.ends_with(".safetensors")) {
      throw input_error(file_, "weight_map[" + in_quotes(key_) + "]",
                        "file name " + in_quotes(value) + " does not end in .safetensors; convert the model");
    }
    const auto [at, fresh] = known_.emplace(std::move(value), static_cast<std::uint32_t>(files_.size()));
    if (fresh) {
      if (files_.size() == 10'000) throw input_error(file_, "weight_map", "names more than 10000 files");
      files_.push_back(at->first);
    }
    map_.emplace_back(std::move(key_), at->second);
  }
  void begin_object() override {
    if (depth_ == 1 && top_key_ == "weight_map") found_ = true;
    if (in_map()) other("an object");
    ++depth_;
  }
  void begin_array() override {
    other("a list");
    ++depth_;
  }
  void key(std::string& name) override {
    if (depth_ == 1) {
      if (!top_.insert(name).second) throw input_error(file_, "field " + in_quotes(name), "is there twice; keep one");
      if (top_.size() > 1000) throw input_error(file_, "", "has more than 1000 fields; this is no index");
      top_key_ = std::move(name);
    } else if (in_map()) {
      if (name.size() > max_name_bytes)
        throw input_error(file_, "weight_map[" + in_quotes(name, 60) + "]", "is a name longer than 4096 bytes");
      if (map_.size() == max_tensors) throw input_error(file_, "weight_map", "has more than 1000000 tensors");
      key_ = std::move(name);
    }
  }
  void end_object() override { --depth_; }
  void end_array() override { --depth_; }
  bool found() const { return found_; }

 private:
  bool in_map() const { return depth_ == 2 && top_key_ == "weight_map"; }
  void other(const char* kind) {
    if (depth_ == 0) throw input_error(file_, "", std::string("is ") + kind + ", not an object");
    if (in_map())
      throw input_error(file_, "weight_map[" + in_quotes(key_) + "]", std::string("is ") + kind + ", not a file name");
    if (depth_ == 1 && top_key_ == "weight_map")
      throw input_error(file_, "weight_map", std::string("is ") + kind + ", not an object");
  }
  std::string_view file_;
  std::vector<std::pair<std::string, std::uint32_t>>& map_;
  std::vector<std::string>& files_;
  std::map<std::string, std::uint32_t> known_;
  std::set<std::string> top_;
  std::string top_key_;
  std::string key_;
  int depth_ = 0;
  bool found_ = false;
};

}  // namespace detail

/// The real path of a file that lies directly in `folder` (or, in the hub's cache layout, is a link into blobs/). `file`
/// must be a bare name. Throws input_error when it leaves the folder, is missing, or is no regular file; `said_by` is
/// who named it (a file), and `field` where.
inline std::string resolve_inside(const std::string& folder, const std::string& file, std::string_view said_by,
                                  std::string_view field) {
  if (const std::string problem = detail::bare_name_problem(file); !problem.empty())
    throw input_error(said_by, field, "file name " + in_quotes(file) + " " + problem + "; name a file of this folder");
  const std::string base = detail::real_path(folder);
  if (base.empty()) throw input_error(folder, "", "is no folder that can be opened; check the path");
  const std::string target = detail::real_path(base + "/" + file);
  if (target.empty() && errno == ENOTDIR) throw input_error(folder, "", "is a file; name the folder that it is in");
  if (target.empty())
    throw input_error(said_by, field, "file " + in_quotes(file) + (errno == EACCES ? " cannot be reached: permission denied" : " is not in the folder; download the model again"));
  bool inside = detail::directly_inside(base, target);
  if (!inside) {
    // hub cache: ROOT/snapshots/REVISION/file -> ROOT/blobs/HASH
    const std::string snapshots = detail::parent_of(base);
    if (snapshots.ends_with("/snapshots")) inside = detail::directly_inside(detail::parent_of(snapshots) + "/blobs", target);
  }
  if (!inside)
    throw input_error(said_by, field, "file " + in_quotes(file) + " is a link that leaves the folder; copy the file itself");
  struct stat status {};
  if (::stat(target.c_str(), &status) != 0 || !S_ISREG(status.st_mode))
    throw input_error(said_by, field, "file " + in_quotes(file) + " is not a regular file; download the model again");
  return target;
}

/// The tensors of a model folder, whichever files they are in. Opening validates everything that can be validated
/// without reading tensor data. Reading is const and thread-safe: the ranks of a process may share one folder.
class hf_folder {
 public:
  struct location {
    const safetensors_file* file = nullptr;
    const tensor_entry* entry = nullptr;
    explicit operator bool() const { return entry != nullptr; }
  };

  explicit hf_folder(std::string folder) : path_(std::move(folder)) {
    while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
    struct stat status {};
    if (path_.empty() || path_.find('\0') != std::string::npos || ::stat(path_.c_str(), &status) != 0)
      throw input_error(path_, "", "is not there; name the folder of a Hugging Face model");
    if (!S_ISDIR(status.st_mode)) throw input_error(path_, "", "is not a folder; name the folder of a Hugging Face model");
    const std::string single = "model.safetensors";
    const std::string index = "model.safetensors.index.json";
    const bool has_single = ::lstat((path_ + "/" + single).c_str(), &status) == 0;
    const bool has_index = ::lstat((path_ + "/" + index).c_str(), &status) == 0;
    if (!has_single && !has_index)
      throw input_error(path_, "", "holds neither model.safetensors nor model.safetensors.index.json; convert the model to safetensors");
    if (has_single) {
      if (has_index) warnings_.push_back("model.safetensors is used, model.safetensors.index.json is not");
      add_file(single, path_, "");
      for (const tensor_entry& entry : files_[0]->entries()) place_.push_back({&entry, 0});
    } else {
      read_index(index);
    }
    std::sort(place_.begin(), place_.end(), [](const placed& a, const placed& b) { return a.entry->name < b.entry->name; });
  }

  const std::string& path() const { return path_; }
  /// Every tensor the folder offers, sorted by name.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const placed& p : place_) all.push_back(p.entry->name);
    return all;
  }
  std::size_t size() const { return place_.size(); }
  location find(std::string_view name) const {
    const auto at = std::lower_bound(place_.begin(), place_.end(), name,
                                     [](const placed& p, std::string_view n) { return p.entry->name < n; });
    if (at == place_.end() || at->entry->name != name) return {};
    return {files_[at->file].get(), at->entry};
  }
  /// Tensors that lie in a file of the folder but in no weight_map: they are not offered.
  const std::vector<std::string>& unlisted() const { return unlisted_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  std::size_t file_count() const { return files_.size(); }
  /// Tensor bytes read so far, over all files.
  std::uint64_t bytes_read() const {
    std::uint64_t n = 0;
    for (const auto& file : files_) n += file->bytes_read();
    return n;
  }

 private:
  struct placed {
    const tensor_entry* entry;
    std::uint32_t file;
  };

  void add_file(const std::string& name, std::string_view said_by, std::string_view field) {
    files_.push_back(std::make_unique<safetensors_file>(resolve_inside(path_, name, said_by, field), path_ + "/" + name));
    for (const std::string& warning : files_.back()->warnings())
      if (warnings_.size() < 64) warnings_.push_back(name + ": " + warning);
  }

  void read_index(const std::string& name) {
    const std::string shown = path_ + "/" + name;
    const std::string text = read_text_file(resolve_inside(path_, name, path_, ""), max_header_bytes, shown);
    std::vector<std::pair<std::string, std::uint32_t>> map;
    std::vector<std::string> names;
    detail::index_reader reader(shown, map, names);
    parse_json(shown, "", text, 16, reader);
    if (!reader.found()) throw input_error(shown, "weight_map", "is missing; download the model again");
    if (map.empty()) throw input_error(shown, "weight_map", "is empty; download the model again");
    std::sort(map.begin(), map.end());
    const auto twice =
        std::adjacent_find(map.begin(), map.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
    if (twice != map.end())
      throw input_error(shown, "weight_map[" + in_quotes(twice->first) + "]", "is there twice; keep one of them");
    for (const std::string& file : names) add_file(file, shown, "weight_map");
    for (const auto& [tensor, file] : map) {
      const tensor_entry* entry = files_[file]->find(tensor);
      if (!entry)
        throw input_error(shown, "weight_map[" + in_quotes(tensor) + "]",
                          "the tensor is not in file " + in_quotes(names[file]) + "; download the model again");
      place_.push_back({entry, file});
    }
    for (std::uint32_t f = 0; f < files_.size(); ++f) {
      for (const tensor_entry& entry : files_[f]->entries()) {
        const auto at =
            std::lower_bound(map.begin(), map.end(), entry.name, [](const auto& m, const std::string& n) { return m.first < n; });
        if (at == map.end() || at->first != entry.name || at->second != f) unlisted_.push_back(entry.name);
      }
    }
    std::sort(unlisted_.begin(), unlisted_.end());
    if (!unlisted_.empty())
      warnings_.push_back(std::to_string(unlisted_.size()) + " tensors of the files are not in weight_map, the first is " +
                          in_quotes(unlisted_.front()));
  }

  std::string path_;
  std::vector<std::unique_ptr<safetensors_file>> files_;
  std::vector<placed> place_;
  std::vector<std::string> unlisted_;
  std::vector<std::string> warnings_;
};

}  // namespace plait::inline v0_1::io

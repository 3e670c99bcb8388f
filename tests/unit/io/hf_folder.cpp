// Model folders: one file, an index, and attempts to leave the folder.
#include "plait/io/hf_folder.hpp"
#include "plait/io/write_safetensors.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "support.hpp"

using namespace plait::io;
using namespace io_tests;

namespace {

const float zeros[16] = {};

void shard(const std::string& path, const std::vector<std::string>& names) {
  std::vector<tensor_to_write> tensors;
  for (const std::string& name : names) tensors.push_back({name, element::f32, {4}, zeros});
  write_safetensors(path, tensors);
}

std::string json_text(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace

TEST_CASE("a folder with one file") {
  const scratch folder;
  CHECK(contains(refusal([&] { hf_folder f(folder.path); }), "neither model.safetensors nor model.safetensors.index.json"));
  CHECK(contains(refusal([&] { hf_folder f(folder.file("none")); }), "is not there"));
  CHECK(contains(refusal([&] { hf_folder f(""); }), "is not there"));
  shard(folder.file("model.safetensors"), {"b", "a"});
  CHECK(contains(refusal([&] { hf_folder f(folder.file("model.safetensors")); }), "is not a folder"));
  const hf_folder f(folder.path + "//");
  CHECK(f.names() == std::vector<std::string>{"a", "b"});
  REQUIRE(f.find("a"));
  CHECK(f.find("a").entry->bytes() == 16);
  CHECK_FALSE(f.find("c"));
  float out[4];
  f.find("a").file->read(*f.find("a").entry, out);
  CHECK(f.bytes_read() == 16);
  CHECK(f.warnings().empty());
}

TEST_CASE("a folder with an index") {
  const scratch folder;
  shard(folder.file("model-00001-of-00002.safetensors"), {"a", "b", "forgotten"});
  shard(folder.file("model-00002-of-00002.safetensors"), {"c", "a"});  // a second a, which the map does not mean
  const std::string index = folder.file("model.safetensors.index.json");
  write(index, R"({"metadata":{"total_size":96,"x":{"y":[1,{}]}},"weight_map":{"a":"model-00001-of-00002.safetensors",
    "c":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors"}})");
  const hf_folder f(folder.path);
  CHECK(f.names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(f.file_count() == 2);
  CHECK(f.find("a").file->path().ends_with("00001-of-00002.safetensors"));
  CHECK(f.find("c").file->path().ends_with("00002-of-00002.safetensors"));
  CHECK_FALSE(f.find("forgotten"));
  CHECK(f.unlisted() == std::vector<std::string>{"a", "forgotten"});
  REQUIRE(f.warnings().size() == 1);
  CHECK(f.warnings()[0].find("2 tensors of the files are not in weight_map") == 0);

  write(index, R"({"weight_map":{"z":"model-00001-of-00002.safetensors"}})");
  CHECK(contains(refusal([&] { hf_folder g(folder.path); }), "weight_map[\"z\"]: the tensor is not in file"));

  shard(folder.file("model.safetensors"), {"only"});  // the single file wins, as in transformers
  const hf_folder both(folder.path);
  CHECK(both.names() == std::vector<std::string>{"only"});
  CHECK(both.warnings().size() == 1);
}

TEST_CASE("refused index files") {
  const scratch folder;
  shard(folder.file("m.safetensors"), {"a"});
  const std::string index = folder.file("model.safetensors.index.json");
  const auto says = [&](const std::string& text, std::string_view part) {
    write(index, text);
    const auto message = refusal([&] { hf_folder f(folder.path); });
    CHECK_MESSAGE(contains(message, part), message.value_or("accepted") << " for " << text.substr(0, 100));
    CHECK(contains(message, "model.safetensors.index.json: "));
  };
  says("", "not valid JSON");
  says("[]", "is a list, not an object");
  says("7", "is a number, not an object");
  says("{}", "weight_map: is missing");
  says(R"({"weight_map":{}})", "weight_map: is empty");
  says(R"({"weight_map":null})", "weight_map: is null");
  says(R"({"weight_map":[]})", "weight_map: is a list");
  says(R"({"weight_map":"m.safetensors"})", "weight_map: is a text");
  says(R"({"weight_map":{"a":1}})", "weight_map[\"a\"]: is a number, not a file name");
  says(R"({"weight_map":{"a":null}})", "weight_map[\"a\"]: is null");
  says(R"({"weight_map":{"a":["m.safetensors"]}})", "weight_map[\"a\"]: is a list");
  says(R"({"weight_map":{"a":{"b":"m.safetensors"}}})", "weight_map[\"a\"]: is an object");
  says(R"({"weight_map":{"a":"m.safetensors","a":"m.safetensors"}})", "weight_map[\"a\"]: is there twice");
  says(R"({"weight_map":{"a":"m.safetensors"},"weight_map":{}})", "\"weight_map\": is there twice");
  says(R"({"weight_map":{"a":"m.safetensors"}}x)", "not valid JSON");
  says(R"({"metadata":)" + std::string(100'000, '[') + "}", "nested too deep");
  says(R"({"weight_map":{")" + std::string(5000, 'n') + R"(":"m.safetensors"}})", "longer than 4096 bytes");
  says(R"({"weight_map":{"a":"m.safetensors","b\u001b[2J":"m.safetensors"}})",
       "weight_map[\"b\\x1b[2J\"]: the tensor is not in file");
}

TEST_CASE("an index cannot name anything outside the folder") {
  const scratch outer;
  const std::string folder = outer.file("model");
  fs::create_directory(folder);
  shard(outer.file("outside.safetensors"), {"a"});
  shard(folder + "/inside.safetensors", {"a"});
  fs::create_directory(folder + "/sub");
  shard(folder + "/sub/deep.safetensors", {"a"});
  fs::create_directory(folder + "/folder.safetensors");
  REQUIRE(::mkfifo((folder + "/pipe.safetensors").c_str(), 0600) == 0);
  fs::create_symlink("../outside.safetensors", folder + "/link_out.safetensors");
  fs::create_symlink(outer.file("outside.safetensors"), folder + "/link_absolute.safetensors");
  fs::create_symlink("sub/deep.safetensors", folder + "/link_deep.safetensors");
  fs::create_symlink("loop.safetensors", folder + "/loop.safetensors");
  fs::create_symlink("nowhere", folder + "/dangling.safetensors");
  fs::create_symlink("/dev/zero", folder + "/zero.safetensors");
  fs::create_symlink("inside.safetensors", folder + "/link_in.safetensors");
  fs::create_symlink("..", folder + "/up");
  const std::string index = folder + "/model.safetensors.index.json";

  struct bad {
    std::string value;  ///< as it stands in the JSON text, with quotes
    const char* says;
  };
  const bad cases[] = {
      {R"("../outside.safetensors")", "slash"},
      {R"("../../../../etc/passwd")", "slash"},
      {json_text(outer.file("outside.safetensors")), "slash"},
      {R"("/etc/passwd")", "slash"},
      {R"("/dev/stdin")", "slash"},
      {R"("./inside.safetensors")", "slash"},
      {R"("sub/deep.safetensors")", "slash"},
      {R"("up/outside.safetensors")", "slash"},
      {R"("sub/../../outside.safetensors")", "slash"},
      {R"("..\\outside.safetensors")", "slash"},
      {R"("..\u002foutside.safetensors")", "slash"},
      {R"("C:\\model.safetensors")", "slash"},
      {R"("C:model.safetensors")", "colon"},
      {R"("file:inside.safetensors")", "colon"},
      {R"("..")", "dots"},
      {R"(".")", "dots"},
      {R"("")", "is empty"},
      {R"(".hidden.safetensors")", "dots"},
      {R"("a..safetensors")", "dots"},
      {R"("inside.safetensors\u0000.safetensors")", "NUL"},
      {R"("inside.safetensors\n")", "control"},
      {R"("config.json")", "does not end in .safetensors"},
      {R"("pytorch_model.bin")", "does not end in .safetensors"},
      {"\"" + std::string(300, 'n') + ".safetensors\"", "longer than 255"},
      {R"("\u2025\u2215outside.safetensors")", "is not in the folder"},        // two-dot leader, division slash
      {R"("\uff0e\uff0e\uff0foutside.safetensors")", "is not in the folder"},  // full-width dots and slash
      {R"("%2e%2e%2foutside.safetensors")", "is not in the folder"},
      {R"("missing.safetensors")", "is not in the folder"},
      {R"("dangling.safetensors")", "is not in the folder"},
      {R"("loop.safetensors")", "is not in the folder"},
      {R"("link_out.safetensors")", "a link that leaves the folder"},
      {R"("link_absolute.safetensors")", "a link that leaves the folder"},
      {R"("link_deep.safetensors")", "a link that leaves the folder"},
      {R"("zero.safetensors")", "a link that leaves the folder"},
      {R"("folder.safetensors")", "not a regular file"},
      {R"("pipe.safetensors")", "not a regular file"},
  };
  for (const bad& b : cases) {
    CAPTURE(b.value);
    write(index, "{\"weight_map\":{\"a\":" + b.value + "}}");
    const auto message = refusal([&] { hf_folder f(folder); });
    CHECK_MESSAGE(contains(message, b.says), message.value_or("accepted"));
    CHECK(contains(message, "model.safetensors.index.json: weight_map"));
  }
  for (const char* good : {"inside.safetensors", "link_in.safetensors"}) {
    write(index, R"({"weight_map":{"a":")" + std::string(good) + "\"}}");
    CHECK(hf_folder(folder).size() == 1);
  }
  // the same holds for the files with fixed names
  fs::remove(index);
  fs::create_symlink("../outside.safetensors", folder + "/model.safetensors");
  CHECK(contains(refusal([&] { hf_folder f(folder); }), "\"model.safetensors\" is a link that leaves the folder"));
  fs::remove(folder + "/model.safetensors");
  write(outer.file("index"), R"({"weight_map":{"a":"inside.safetensors"}})");
  fs::create_symlink("../index", index);
  CHECK(contains(refusal([&] { hf_folder f(folder); }), "index.json\" is a link that leaves the folder"));
}

TEST_CASE("the layout of the hub's cache: links into blobs are followed, others are not") {
  const scratch root;
  fs::create_directories(root.file("blobs"));
  fs::create_directories(root.file("snapshots/abc"));
  fs::create_directories(root.file("other"));
  shard(root.file("blobs/0123"), {"a"});
  shard(root.file("other/0123"), {"a"});
  fs::create_symlink("../../blobs/0123", root.file("snapshots/abc/model.safetensors"));
  CHECK(hf_folder(root.file("snapshots/abc")).size() == 1);
  const hf_folder snapshot(root.file("snapshots/abc"));
  CHECK(snapshot.find("a").file->path() == root.file("snapshots/abc/model.safetensors"));  // what errors will say
  fs::create_symlink(root.file("snapshots/abc"), root.file("latest"));  // the folder itself may be reached by a link
  CHECK(hf_folder(root.file("latest")).size() == 1);

  const auto link_to = [&](const char* target) {
    fs::remove(root.file("snapshots/abc/model.safetensors"));
    fs::create_symlink(target, root.file("snapshots/abc/model.safetensors"));
    return refusal([&] { hf_folder f(root.file("snapshots/abc")); });
  };
  CHECK(contains(link_to("../../other/0123"), "a link that leaves the folder"));
  CHECK_FALSE(link_to("../../other/../blobs/0123"));  // it is where it ends that counts
  fs::create_directories(root.file("blobs/deeper"));
  shard(root.file("blobs/deeper/0123"), {"a"});
  CHECK(contains(link_to("../../blobs/deeper/0123"), "a link that leaves the folder"));
  fs::create_symlink("../other/0123", root.file("blobs/4567"));
  CHECK(contains(link_to("../../blobs/4567"), "a link that leaves the folder"));
  // blobs beside a folder that is no snapshot is nothing special
  fs::create_directories(root.file("models/abc"));
  fs::create_symlink("../../blobs/0123", root.file("models/abc/model.safetensors"));
  CHECK(contains(refusal([&] { hf_folder f(root.file("models/abc")); }), "a link that leaves the folder"));
}

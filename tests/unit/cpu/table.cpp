#include "support.hpp"
#include "support/cpu_backend.hpp"

namespace cpu_test {

const backend& cpu = test_backend();

}  // namespace cpu_test

TEST_CASE("cpu backend: every entry of the table is filled") {
  CHECK(std::string(plait::test_backend().name) == "cpu");
  CHECK(&plait::test_backend() == &cpu_test::cpu);
  // The table is the name and plain function pointers, none of which may be null.
  using entry = void (*)();
  constexpr std::size_t entries = sizeof(plait::backend) / sizeof(entry);
  entry functions[entries];
  static_assert(sizeof functions == sizeof(plait::backend));
  std::memcpy(functions, &plait::test_backend(), sizeof functions);
  bool filled = true;
  for (entry function : functions) filled = filled && function != nullptr;
  CHECK(filled);
}

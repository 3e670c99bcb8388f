// What the three consumer projects build: a program that uses plait and nothing else.
#include <cstdio>
#include <plait/plait.hpp>
#include <plait/version.hpp>

int main() {
  std::printf("plait %d.%d.%d\n", PLAIT_VERSION_MAJOR, PLAIT_VERSION_MINOR, PLAIT_VERSION_PATCH);
  return 0;
}

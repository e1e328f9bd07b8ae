#include "tests/bench/floor_server.h"

int main(int argc, char** argv) {
  return liveexec::bench::RunFloor(argc, argv, liveexec::bench::EpollSet::kInherited);
}

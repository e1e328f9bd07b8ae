// A version of demo-server that goes wrong. What it does wrong, and when, is in the name of its
// file: "segv-upgrade" dies of a null write when it takes over, and passes the rehearsal before;
// "segv-rehearsal" is caught there. Under any other name it is a good server.
#include <stdlib.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "demo-server/data/layout.h"
#include "demo-server/run.h"
#include "demo-server/state/state_format.h"
#include "handoff/inheritance.h"
#include "handoff/program_note.h"

LIVEEXEC_APPLICATION("demo-server", "bad");
LIVEEXEC_COMPONENT("memory", 1, 1);
LIVEEXEC_RESIDENT_LAYOUT("memory", liveexec::demo::DataLayout(liveexec::demo::kDataLayoutVersion));
LIVEEXEC_COMPONENT("keyspace", BAD_SCHEMA, BAD_SCHEMA);
LIVEEXEC_COMPONENT("clients", 1, 1);
LIVEEXEC_COMPONENT("signals", 1, 1);

namespace {

int OverflowStack(volatile int* depth);
// Recursion that no optimizer turns into a loop, and no compiler warns of.
int (*volatile recurse)(volatile int*) = OverflowStack;

int OverflowStack(volatile int* depth) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(*depth);
  *depth = *depth + 1;
  return recurse(depth) + frame[0];
}

std::string NameOfFile() {
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  const std::string_view text(path, size > 0 ? static_cast<size_t>(size) : 0);
  return std::string(text.substr(text.rfind('/') + 1));
}

void Misbehave(std::string_view how) {
  volatile int depth = 0;
  // Not null, which a sanitizer would find before it is used.
  static volatile int* volatile nowhere = reinterpret_cast<volatile int*>(16);
  if (how == "segv") *nowhere = 1;
  if (how == "throw") throw std::runtime_error("thrown in main");
  if (how == "stack") depth = OverflowStack(&depth);
  if (how == "exit") exit(0);
  while (how == "hang") pause();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = NameOfFile();
  const size_t dash = name.find('-');
  const std::string_view mode = liveexec::StartModeName(liveexec::ProcessInheritance().mode);
  if (dash != std::string::npos && name.substr(dash + 1) == mode) Misbehave(name.substr(0, dash));
  return liveexec::demo::Run(argc, argv, liveexec::demo::StateFormatV1());
}

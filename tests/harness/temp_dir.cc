#include "tests/harness/temp_dir.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace liveexec::harness {

TempDir::TempDir() {
  const char* base = std::getenv("LIVEEXEC_TMPDIR");
  path_ = std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/lx.XXXXXX";
  if (mkdtemp(path_.data()) == nullptr) {
    std::perror(path_.c_str());
    std::abort();
  }
}

TempDir::~TempDir() {
  if (keep_) return;
  std::error_code ignored;  // What is left of it is in /tmp, and no test's concern.
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::File(std::string_view name) const { return path_ + "/" + std::string(name); }

}  // namespace liveexec::harness

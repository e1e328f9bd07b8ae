// TempDir: a directory with a short path (a UNIX socket's path has 107 bytes), removed at the end
// of its scope unless somebody asked to keep it.
#ifndef LIVEEXEC_TESTS_HARNESS_TEMP_DIR_H_
#define LIVEEXEC_TESTS_HARNESS_TEMP_DIR_H_

#include <string>
#include <string_view>

namespace liveexec::harness {

class TempDir {
 public:
  // Makes a directory of mode 0700 below /tmp (or $LIVEEXEC_TMPDIR). Aborts when it cannot: there
  // is nothing to test without one.
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const;

  // Leaves the directory in place, for a person to look at.
  void Keep() { keep_ = true; }

 private:
  std::string path_;
  bool keep_ = false;
};

}  // namespace liveexec::harness

#endif  // LIVEEXEC_TESTS_HARNESS_TEMP_DIR_H_

#include "demo-server/testing/engine_harness.h"

#include "demo-server/commands/families.h"

namespace liveexec::demo {

EngineHarness::EngineHarness(int loops, uint64_t seed) {
  EngineOptions options;
  options.seed = seed;
  options.loops = loops;
  options.commands = AllCommands();
  engine_ = std::make_unique<Engine>(std::move(options), this);
}

TestClient::TestClient(EngineHarness& server, int loop) : server_(server) {
  session.owner = this;
  session.loop = loop;
  server_.engine().Open(session);
  open_ = true;
}

TestClient::TestClient(EngineHarness& server, Unopened /*unopened*/) : server_(server) {
  session.owner = this;
}

TestClient::~TestClient() {
  if (open_) server_.engine().Close(session);
}

void TestClient::Adopt() {
  std::lock_guard lock(server_.engine().mutex());
  server_.engine().Adopt(session);
  open_ = true;
}

std::string TestClient::Send(std::string_view bytes) {
  input_.append(bytes);
  return Process();
}

std::string TestClient::Process() {
  std::string output;
  const Engine::Progress progress = server_.engine().Process(session, input_, output);
  input_.erase(0, progress.consumed);
  last = progress.output;
  return output;
}

std::string TestClient::Receive() {
  while (server_.engine().TakePending(session.loop) != nullptr) {
  }
  std::string output;
  last = server_.engine().TakeOutput(session, output);
  if (last.resume_input) output += Process();
  return output;
}

std::string Encode(const std::vector<std::string>& arguments) {
  std::string bytes = "*" + std::to_string(arguments.size()) + "\r\n";
  for (const std::string& argument : arguments) {
    bytes += "$" + std::to_string(argument.size()) + "\r\n" + argument + "\r\n";
  }
  return bytes;
}

}  // namespace liveexec::demo

# Ruby's net-ssh and net-sftp against one server: ruby netssh_cells.rb FEATURE PORT KEY DIR. What is missing raises.
require 'net/ssh'
require 'net/sftp'
require 'securerandom'
require 'socket'

FEATURE, PORT, KEY, DIR = ARGV
NOISE = SecureRandom.random_bytes(2_000_000)

def check(good, what)
  raise what unless good
end

def connect(&block)
  options = { port: PORT.to_i, keys: [KEY], keys_only: true, config: false, use_agent: false, timeout: 30,
              verify_host_key: :never, non_interactive: true }
  Net::SSH.start('127.0.0.1', 'root', **options, &block)
end

# Sends five bytes back: net-ssh forwards no half of a connection.
def echo
  server = TCPServer.new('127.0.0.1', 0)
  Thread.new do
    socket = server.accept
    socket.write(socket.read(5))
    socket.close
  end
  server.addr[1]
end

case FEATURE
when 'status'
  connect do |ssh|
    check(ssh.exec!('exit 7').exitstatus == 7, 'exit 7')
    check(ssh.exec!('/no/such/program').exitstatus == 127, 'no program')
  end
when 'stderr'
  connect do |ssh|
    said = { stdout: +'', stderr: +'' }
    ssh.exec!('echo out; echo err >&2') { |_, stream, data| said[stream] << data }
    check(said == { stdout: "out\n", stderr: "err\n" }, said.to_s)
  end
when 'output'
  File.binwrite("#{DIR}/noise", NOISE)
  connect { |ssh| check(ssh.exec!("cat #{DIR}/noise").b == NOISE, 'it is not what it was') }
when 'files'
  File.binwrite("#{DIR}/mine", NOISE)
  connect do |ssh|
    ssh.sftp.upload!("#{DIR}/mine", "#{DIR}/up")
    check(File.binread("#{DIR}/up") == NOISE, 'what went up')
    ssh.sftp.download!("#{DIR}/up", "#{DIR}/down")
    check(File.binread("#{DIR}/down") == NOISE, 'what came down')
  end
when 'list'
  Dir.mkdir("#{DIR}/d")
  File.write("#{DIR}/d/one", '1')
  connect do |ssh|
    ssh.sftp.rename!("#{DIR}/d/one", "#{DIR}/d/over")
    names = ssh.sftp.dir.entries("#{DIR}/d").map(&:name) - %w[. ..]
    check(names == ['over'], names.to_s)
    ssh.sftp.remove!("#{DIR}/d/over")
    ssh.sftp.rmdir!("#{DIR}/d")
    check(!File.exist?("#{DIR}/d"), 'it is still there')
  end
when 'local_forward'
  target = echo
  connect do |ssh|
    here = ssh.forward.local('127.0.0.1', 0, '127.0.0.1', target)
    answer = nil
    client = Thread.new do
      socket = TCPSocket.new('127.0.0.1', here)
      socket.write('hello')
      answer = socket.read
    end
    ssh.loop(0.05) { client.alive? }
    check(answer == 'hello', answer.to_s)
  end
end

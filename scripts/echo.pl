# Answers on port 80, over TCP (HTTP) and UDP, IPv4 and IPv6, with who calls: `NAME ADDRESS PORT`, and prints the same.
# NAME is $ECHO_NAME or the host name. The path /slow takes a second a line for three lines. After SIGTERM what was begun is
# answered; then it ends.
use strict;
use warnings;
use Socket qw(:all);

$| = 1;
my $name = $ENV{ECHO_NAME};
if (!defined $name) {
  open(my $file, '<', '/proc/sys/kernel/hostname') or die "no host name: $!";
  chomp($name = <$file>);
}
my $stopping = 0;
$SIG{TERM} = $SIG{INT} = sub { $stopping = 1 };
$SIG{PIPE} = 'IGNORE';
$SIG{CHLD} = 'IGNORE';

my $tcp = listener(SOCK_STREAM);
listen($tcp, 512) or die "listen: $!";
my $udp = listener(SOCK_DGRAM);
my %open;

while (!$stopping || %open) {
  my $wanted = '';
  vec($wanted, fileno($_), 1) = 1 for ($stopping ? () : ($tcp, $udp)), map { $_->{socket} } values %open;
  my $count = select(my $ready = $wanted, undef, undef, $stopping ? 1 : undef);
  last if $stopping && $count == 0;
  next if $count < 0;
  if (!$stopping && vec($ready, fileno($udp), 1)) {
    my $from = recv($udp, my $data, 2048, 0);
    send($udp, line('udp', $from), 0, $from) if defined $from;
  }
  if (!$stopping && vec($ready, fileno($tcp), 1)) {
    my $from = accept(my $socket, $tcp);
    $open{fileno $socket} = { socket => $socket, from => $from, head => '' } if $from;
  }
  for my $number (keys %open) {
    next unless vec($ready, $number, 1);
    my $caller = $open{$number};
    my $length = sysread($caller->{socket}, $caller->{head}, 4096, length $caller->{head});
    next if $length && $caller->{head} !~ /\r?\n\r?\n/;
    answer($caller) if $length;
    close(delete($open{$number})->{socket});
  }
}

# The kernel takes children that are ignored away by itself: this ends when there are none.
1 while wait() != -1;

sub listener {
  my ($type) = @_;
  socket(my $socket, AF_INET6, $type, 0) or die "socket: $!";
  setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
  setsockopt($socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  bind($socket, pack_sockaddr_in6($ENV{ECHO_PORT} || 80, inet_pton(AF_INET6, '::'))) or die "bind: $!";
  return $socket;
}

sub line {
  my ($kind, $from) = @_;
  my ($port, $address) = unpack_sockaddr_in6($from);
  my $text = inet_ntop(AF_INET6, $address);
  $text =~ s/^::ffff:(\d+\.)/$1/;
  print "$kind $text $port\n";
  return "$name $text $port\n";
}

sub answer {
  my ($caller) = @_;
  my $line = line('tcp', $caller->{from});
  my $socket = $caller->{socket};
  if ($caller->{head} !~ m{^GET /slow}) {
    my $size = length $line;
    syswrite($socket, "HTTP/1.1 200 OK\r\nContent-Length: $size\r\nConnection: close\r\n\r\n$line");
    return;
  }
  # In a process of its own, so that others are answered meanwhile.
  return if fork;
  syswrite($socket, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
  for (1 .. 3) { sleep 1; syswrite($socket, $line); }
  exit 0;
}

using System.Net.Sockets;
using System.Text;
using Microsoft.Extensions.Logging;

namespace Vhost.Backend.Hosting;

/// <summary>Sends the messages of sd_notify: one datagram each, to a socket of the file system or an abstract one. A service manager that does not listen is no reason to fail.</summary>
internal sealed class SystemdSocket : IDisposable
{
    private const int LongestSend = 1000;

    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { SendTimeout = LongestSend };
    private readonly UnixDomainSocketEndPoint _manager;
    private readonly ILogger _logger;
    private bool _told;

    internal SystemdSocket(string address, ILogger logger)
    {
        _manager = new UnixDomainSocketEndPoint(address[0] == '@' ? '\0' + address[1..] : address);
        _logger = logger;
    }

    public void Dispose() => _socket.Dispose();

    /// <summary>Sends a message. The first failure is logged.</summary>
    /// <param name="message">Assignments, one a line.</param>
    internal void Send(string message)
    {
        try
        {
            _socket.SendTo(Encoding.UTF8.GetBytes(message), SocketFlags.None, _manager);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            if (!_told)
                HostingLog.NotNotified(_logger, message, e.Message);
            _told = true;
        }
    }
}

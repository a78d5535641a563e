namespace Vhost.Protocol;

/// <summary>Which queue of a console device is which (virtio 1.2, 5.3.2), as the driver names them: it receives on what the device writes.</summary>
internal static class VirtioConsoleQueues
{
    internal const int ControlReceive = 2;
    internal const int ControlTransmit = 3;

    /// <summary>Ports of a device whose queues all have a number on the wire.</summary>
    internal const int MostPorts = 127;

    internal static int Count(int ports, bool multiPort) => multiPort ? 2 * (ports + 1) : 2;

    internal static int Receive(int port) => port == 0 ? 0 : 2 + (2 * port);

    internal static int Transmit(int port) => Receive(port) + 1;

    internal static bool IsControl(int queue) => queue is ControlReceive or ControlTransmit;

    /// <summary>The port of a queue that is no control queue.</summary>
    internal static int PortOf(int queue) => queue < ControlReceive ? 0 : (queue - 2) / 2;
}

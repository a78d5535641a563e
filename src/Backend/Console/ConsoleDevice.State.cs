using System.Globalization;
using System.IO.Pipelines;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What moves with the guest: what its driver has said about the ports, what it is to be told about them, and how far its next buffers were taken.</summary>
public sealed partial class ConsoleDevice : IMigratableDevice
{
    private const uint DeviceId = 3;
    private const uint StateVersion = 1;
    private const int BytesOfPort = 8;

    /// <summary>
    /// Writes for each port whether the driver has it ready and open, what it has still to be told, and how much of its next buffer was taken. Bytes in the pipes stay here: the application's side of a port
    /// is the application's to move.
    /// </summary>
    /// <inheritdoc/>
    public ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(destination);
        return DeviceStateFrame.WriteAsync(destination, DeviceId, StateVersion, State(), cancellationToken);
    }

    /// <summary>Takes it over. Another number of ports is an error.</summary>
    /// <inheritdoc/>
    public async ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(source);
        byte[] bytes = await DeviceStateFrame.ReadAsync(source, DeviceId, StateVersion, cancellationToken).ConfigureAwait(false);
        (bool multiPort, PortState[] ports) = Parse(bytes);
        _multiPort = multiPort; // features that say the same change nothing
        _control.Reset(multiPort);
        for (int i = 0; i < ports.Length; i++)
        {
            _control.Restore(i, ports[i].IsReady, ports[i].Pending);
            _ports[i].Inlet.Taken = ports[i].Taken;
            if (multiPort)
                _ports[i].SetGuestOpen(ports[i].IsGuestOpen); // otherwise the start of its queue says so
        }
    }

    private byte[] State()
    {
        using MemoryStream bytes = new();
        using BinaryWriter fields = new(bytes);
        fields.Write(_multiPort);
        fields.Write((uint)_ports.Length);
        for (int i = 0; i < _ports.Length; i++)
        {
            (bool ready, ConsoleNews pending) = _control.PortState(i);
            fields.Write(ready);
            fields.Write(_ports[i].IsGuestOpen);
            fields.Write((ushort)pending);
            fields.Write(_ports[i].Inlet.Taken);
        }

        return bytes.ToArray();
    }

    private (bool MultiPort, PortState[] Ports) Parse(byte[] bytes)
    {
        SavedBytes fields = new(bytes, "state of a console");
        bool multiPort = fields.Flag("several ports");
        int count = fields.Count("ports", int.MaxValue, BytesOfPort);
        if (count != _ports.Length || (multiPort && !_options.OffersMultiPort))
            throw fields.Bad("ports", (ulong)count, string.Create(CultureInfo.InvariantCulture, $"{_ports.Length}, as this device has"));
        PortState[] ports = new PortState[count];
        for (int i = 0; i < count; i++)
        {
            (bool ready, bool open) = (fields.Flag("port ready"), fields.Flag("port open"));
            ushort pending = fields.U16("news of a port");
            if ((pending & ~(int)ConsoleNews.All) != 0)
                throw fields.Bad("news of a port", pending, string.Create(CultureInfo.InvariantCulture, $"of {(int)ConsoleNews.All}"));
            ports[i] = new PortState(ready, open, (ConsoleNews)pending, fields.U32("bytes taken of a buffer"));
        }

        fields.RequireEnd();
        return (multiPort, ports);
    }

    private readonly record struct PortState(bool IsReady, bool IsGuestOpen, ConsoleNews Pending, uint Taken);
}

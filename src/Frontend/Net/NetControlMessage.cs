using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A command of the control queue as it goes out (virtio 1.2, 5.1.6.5).</summary>
/// <param name="Command">Class and command.</param>
/// <param name="Data">What belongs to it.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct NetControlMessage(NetControlCommand Command, byte[] Data)
{
    internal static NetControlMessage ReceiveMode(NetReceiveModes mode, bool on) =>
        new((NetControlCommand)(ushort)(BitOperations.Log2((uint)mode) << 8), [on ? (byte)1 : (byte)0]);

    internal static NetControlMessage Mac(MacAddress address)
    {
        byte[] data = new byte[MacAddress.Size];
        address.Write(data);
        return new NetControlMessage(NetControlCommand.SetMacAddress, data);
    }

    internal static NetControlMessage MacTable(IReadOnlyCollection<MacAddress> unicast, IReadOnlyCollection<MacAddress> multicast)
    {
        byte[] data = new byte[(2 * sizeof(uint)) + ((unicast.Count + multicast.Count) * MacAddress.Size)];
        Span<byte> rest = WriteTable(data, unicast);
        WriteTable(rest, multicast);
        return new NetControlMessage(NetControlCommand.SetMacTable, data);
    }

    internal static NetControlMessage Vlan(int id, bool wanted) => new(wanted ? NetControlCommand.AddVlan : NetControlCommand.RemoveVlan, U16(id));

    internal static NetControlMessage QueuePairs(int pairs) => new(NetControlCommand.SetQueuePairs, U16(pairs));

    private static Span<byte> WriteTable(Span<byte> destination, IReadOnlyCollection<MacAddress> addresses)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)addresses.Count);
        destination = destination[sizeof(uint)..];
        foreach (MacAddress address in addresses)
        {
            address.Write(destination);
            destination = destination[MacAddress.Size..];
        }

        return destination;
    }

    private static byte[] U16(int value)
    {
        byte[] bytes = new byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, checked((ushort)value));
        return bytes;
    }
}

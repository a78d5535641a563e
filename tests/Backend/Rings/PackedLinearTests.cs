using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Chains of one buffer that are taken from a packed ring many at once, and given back with ordinary stores or with streamed ones.</summary>
public sealed class PackedLinearTests : IDisposable
{
    private const ulong Data = 0x10_0000;
    private const int PlaceLength = 64;
    private const ushort UsedOnFirstTurn = RawPackedRing.Available | RawPackedRing.Used;

    private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
    private readonly EventNotifier _call = new();
    private RawPackedRing? _ring;
    private DeviceVirtqueue? _device;

    public static TheoryData<int, int, bool> Bursts
    {
        get
        {
            TheoryData<int, int, bool> rows = new();
            foreach (int size in (int[])[1, 3, 4, 7, 8, 13, 64, 333])
            {
                foreach (int burst in (int[])[1, 3, 4, 5, 8, 11, 32, 64])
                {
                    rows.Add(size, burst, false);
                    rows.Add(size, burst, true);
                }
            }

            return rows;
        }
    }

    [Theory]
    [MemberData(nameof(Bursts))]
    public void Every_used_descriptor_says_what_was_done_and_keeps_its_address(int size, int burst, bool streamed)
    {
        burst = Math.Min(burst, size);
        Start(size);
        LinearChain[] chains = new LinearChain[burst];
        int offered = 0;
        int used = 0;
        while (used < 3 * size)
        {
            for (; offered < used + burst; offered++)
                _ring!.Offer(offered % size, At(offered), PlaceLength, Id(offered, size), RawPackedRing.Write, IsOddTurn(offered, size));
            _device!.TakeLinear(chains, deviceWrites: true, out _).Should().Be(burst);
            _device.Streamed = streamed && PacketStream.IsSupported;

            _device.CompleteLinear(chains, [.. Enumerable.Range(used, burst).Select(Length)]);
            (_ring!.At(used % size).Flags & UsedOnFirstTurn).Should().Be(IsOddTurn(used, size) ? RawPackedRing.Available : RawPackedRing.Used, "nothing is shown before the flush");
            _device.Flush();

            for (int last = used + burst; used < last; used++)
            {
                ushort flags = (ushort)(RawPackedRing.Write | (IsOddTurn(used, size) ? UsedOnFirstTurn : 0));
                _ring.At(used % size).Should().Be((Id(used, size), Length(used), flags));
                _ring.Read<ulong>(16UL * (ulong)(used % size)).Should().Be(At(used));
            }
        }

        _device!.Fault.Should().Be(VirtqueueFault.None);
        _device.InFlight.Should().Be(0);
    }

    public void Dispose()
    {
        _device?.Deactivate();
        _ring?.Dispose();
        _call.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    /// <summary>Different for each place and turn, so that one descriptor's cannot pass for another's.</summary>
    private static ulong At(int number) => Data + (PlaceLength * (ulong)(number % 1024));

    private static uint Length(int number) => 1 + ((uint)number % PlaceLength);

    /// <summary>Not the place: a device must not take one for the other.</summary>
    private static ushort Id(int number, int size) => (ushort)(size - 1 - (number % size));

    private static bool IsOddTurn(int number, int size) => number / size % 2 == 0;

    private void Start(int size)
    {
        _ring = new RawPackedRing(_memory, 0, size);
        VirtqueueSetup setup = new(
            0,
            (uint)size,
            new UserAddress(_ring.DescriptorRing.Value + GuestRam.UserOffset),
            new UserAddress(_ring.DriverArea.Value + GuestRam.UserOffset),
            new UserAddress(_ring.DeviceArea.Value + GuestRam.UserOffset),
            0x8000_8000,
            VirtioFeatures.RingPacked);
        _device = DeviceVirtqueue.TryActivate(_memory, setup, _call, out _, out string why) ?? throw new InvalidOperationException(why);
    }
}

using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>The device status, which two say: the driver and the device.</summary>
public sealed class DriverStatusTests
{
    [Fact]
    public void A_driver_cannot_take_NEEDS_RESET_back_other_than_by_a_reset()
    {
        DriverStatus status = new();
        status.Set(0x0F);
        status.SetNeedsReset();
        status.Value.Should().Be(0x4F);
        status.Set(0x0B);
        status.Value.Should().Be(0x4B);
        status.Set(0);
        status.Value.Should().Be(0);
    }

    [Fact]
    public async Task What_the_device_says_while_the_driver_says_something_is_not_lost()
    {
        const int Rounds = 200_000;
        DriverStatus status = new();
        int round = 0, done = 0, lost = 0;
        Task device = Task.Factory.StartNew(
            () =>
            {
                SpinWait wait = default;
                for (int i = 1; i <= Rounds; i++)
                {
                    for (wait.Reset(); Volatile.Read(ref round) != i; wait.SpinOnce())
                    {
                    }

                    status.SetNeedsReset();
                    Volatile.Write(ref done, i);
                }
            },
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        SpinWait spin = default;
        for (int i = 1; i <= Rounds; i++)
        {
            status.Set(0);
            Volatile.Write(ref round, i);
            for (spin.Reset(); Volatile.Read(ref done) != i; spin.SpinOnce())
                status.Set(0x0F);
            lost += (status.Value & 0x40) == 0 ? 1 : 0;
        }

        await device.InTime();
        lost.Should().Be(0);
    }
}

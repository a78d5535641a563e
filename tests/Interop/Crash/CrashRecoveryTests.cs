using System.Globalization;
using Vhost.Protocol;
using Vhost.Tests.Support;
using Xunit.Abstractions;

namespace Vhost.Interop.Tests;

/// <summary>
/// A device that executes 64 requests at a time, out of order, is killed again and again. Every request comes back to the driver once, none is lost, and one that
/// reached the used ring is never executed again. More deaths than a few: VHOST_TEST_CRASHES.
/// </summary>
public sealed class CrashRecoveryTests(ITestOutputHelper output) : IDisposable
{
    /// <summary>So many steps an ordinary life goes through before everything in it has happened many times.</summary>
    private const int Steps = 1200;

    private readonly TempFolder _folder = new();
    private readonly Random _random = new(1);

    private static int Deaths => int.Parse(Environment.GetEnvironmentVariable("VHOST_TEST_CRASHES") ?? "20", CultureInfo.InvariantCulture);

    public void Dispose() => _folder.Dispose();

    /// <summary>With 1200 deaths or more this is every one of the first 1200 steps.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public Task A_process_that_ends_at_a_step_leaves_everything_to_the_next(VirtioFeatures ring) =>
        LiveAsync(ring, death => 1 + (int)((long)death * Math.Max(Steps, Deaths) / Deaths), static () => int.MaxValue);

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public Task A_process_that_is_killed_at_any_moment_leaves_everything_to_the_next(VirtioFeatures ring) =>
        LiveAsync(ring, static _ => CrashBackend.Never, () => _random.Next(0, 1000));

    private async Task LiveAsync(VirtioFeatures ring, Func<int, int> dieAt, Func<int> killAfter)
    {
        string record = _folder.File("r");
        int deaths = Deaths;
        ChildProcess Start(int life) => CrashBackend.Start(_folder.File("s"), record, life, life > deaths ? CrashBackend.Never : dieAt(life - 1));
        await using CrashDriver driver = new(_folder.File("s"), ring);
        ChildProcess next = Start(1);
        for (int life = 1; life <= deaths; life++)
        {
            await using ChildProcess process = next;
            bool serves = await driver.TryStartAsync();
            next = Start(life + 1); // it connects meanwhile, and waits for its turn
            int kill = killAfter();
            int until = kill > int.MaxValue - driver.Ended ? int.MaxValue : driver.Ended + kill;
            driver.TurnUntil(life, () => !serves || process.HasExited || driver.Ended >= until);
            if (serves && !process.HasExited)
                process.Signal(UnixSignal.Kill);
            await process.EndAsync();
            await driver.AfterDeathAsync(life);
        }

        await using ChildProcess last = next;
        (await driver.TryStartAsync()).Should().BeTrue();
        int further = driver.Ended + 500;
        driver.TurnUntil(deaths + 1, () => driver.Ended >= further);
        driver.Finish(deaths + 1);
        Check(driver, [.. Execution.ReadAll(record)]);
    }

    private void Check(CrashDriver driver, IReadOnlyList<Execution> executions)
    {
        driver.EndedIn.Should().NotContain(0, "none is lost");
        executions.Count(one => one.Life > driver.EndedIn[(int)one.Token]).Should().Be(0, "what reached the used ring is never executed again");
        executions.Distinct().Count().Should().Be(executions.Count, "no process executes a request twice");
        executions.Count(one => one.Life == driver.EndedIn[(int)one.Token]).Should().Be(driver.Ended, "each came back from the process that executed it last");
        int lives = executions.Select(static one => one.Life).Distinct().Count();
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{Deaths} deaths, {lives} processes that executed something; {driver.Ended} requests came back once; {executions.Count - driver.Ended} were executed again, none of them after it had come back"));
        lives.Should().BeGreaterThan(Deaths / 3, "most processes get somewhere");
    }
}

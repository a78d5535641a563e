using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vhost.Tests.Support;

/// <summary>Waits for what another thread or process will do soon, and fails when it does not.</summary>
public static class Eventually
{
    /// <summary>How long any test waits for something that should happen at once.</summary>
    public static TimeSpan Deadline { get; } = TimeSpan.FromSeconds(10);

    public static async Task TrueAsync(Func<bool> condition, [CallerArgumentExpression(nameof(condition))] string what = "")
    {
        long started = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(started) > Deadline) throw new TimeoutException($"Never became true: {what}");
            await Task.Delay(1);
        }
    }

    /// <summary>The task's result, or a failure when it does not end in time.</summary>
    public static Task<T> InTime<T>(this ValueTask<T> task) => task.AsTask().WaitAsync(Deadline);

    public static Task InTime(this ValueTask task) => task.AsTask().WaitAsync(Deadline);

    public static Task<T> InTime<T>(this Task<T> task) => task.WaitAsync(Deadline);

    public static Task InTime(this Task task) => task.WaitAsync(Deadline);
}

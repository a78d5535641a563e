using System.Globalization;
using System.Text;

namespace Vhost.Interop.Tests.Guests;

/// <summary>
/// Files that a guest writes and whose content is known outside: the number of the file, the numbers 1 to 20000 without a beginning that is longer in
/// every file, and the same seven times whole. No two blocks of the disk are alike.
/// </summary>
internal static class GuestFiles
{
    private const int Numbers = 20000;
    private const int Repetitions = 7;
    private const int Shift = 7;

    /// <summary>Shell that makes ready what the others use.</summary>
    internal const string Prepare = "seq 1 20000 > /tmp/base";

    /// <summary>Shell that writes file <c>f$i</c> of the file system and makes it durable.</summary>
    internal const string WriteOne = "{ echo $i; tail -c +$((7 * i + 1)) /tmp/base; cat /tmp/base /tmp/base /tmp/base /tmp/base /tmp/base /tmp/base /tmp/base; } > /mnt/f$i && sync /mnt/f$i";

    /// <summary>Compares the files of a folder, from one number to another, with what they should be.</summary>
    internal static void ShouldBe(string folder, int from, int to)
    {
        byte[] numbers = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(1, Numbers).Select(number => string.Create(CultureInfo.InvariantCulture, $"{number}\n"))));
        for (int i = from; i <= to; i++)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"f{i}");
            byte[] expected = [.. Encoding.ASCII.GetBytes(name[1..] + "\n"), .. numbers.AsSpan(Shift * i), .. Enumerable.Repeat(numbers, Repetitions).SelectMany(bytes => bytes)];
            File.ReadAllBytes(Path.Combine(folder, name)).AsSpan().SequenceEqual(expected).Should().BeTrue($"{name} is what the guest wrote");
        }
    }
}

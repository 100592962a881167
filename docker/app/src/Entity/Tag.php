<?php

namespace App\Entity;

use Doctrine\ORM\Mapping as ORM;

#[ORM\Entity]
#[ORM\Table(name: 'symfony_demo_tag')]
class Tag
{
    #[ORM\Id, ORM\GeneratedValue, ORM\Column]
    private ?int $id = null;

    public function __construct(#[ORM\Column(unique: true)] private string $name)
    {
    }

    public function getName(): string
    {
        return $this->name;
    }
}
